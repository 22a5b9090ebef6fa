"""The witnesses of our logs: who is asked to cosign, and what they answer (log.md, 4.6, 5.8)."""

from tallystick.publish.witnesses.asker import ask_until, ask_witnesses
from tallystick.publish.witnesses.operations import (
    add_witness,
    clear_witness,
    list_witnesses,
    log_policy,
    remove_witness,
)
from tallystick.publish.witnesses.store import lock as lock_witnesses
from tallystick.publish.witnesses.values import (
    Answer,
    Contradicted,
    Cosigned,
    Declined,
    Overtaken,
    Witness,
)

__all__ = [
    "Answer",
    "Contradicted",
    "Cosigned",
    "Declined",
    "Overtaken",
    "Witness",
    "add_witness",
    "ask_until",
    "ask_witnesses",
    "clear_witness",
    "list_witnesses",
    "lock_witnesses",
    "log_policy",
    "remove_witness",
]

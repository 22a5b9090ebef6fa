"""What the handlers of one server share."""

from __future__ import annotations

from dataclasses import dataclass

from tallystick.chain.node.nodes import Nodes
from tallystick.db import Database
from tallystick.http.authorize import Authorizer
from tallystick.http.push import PushDoor
from tallystick.identity.human_proofs import HumanProofRules
from tallystick.identity.verifiers import ChainFacts
from tallystick.outbox import EventNotifier
from tallystick.publish import Publisher
from tallystick.seal.logs import KeyRing


@dataclass(frozen=True, slots=True)
class Services:
    """The slices that a server serves, ready to be asked."""

    database: Database
    publisher: Publisher
    authorizer: Authorizer
    keys: KeyRing
    notifier: EventNotifier
    door: PushDoor
    origin_prefix: str
    proof_rules: HumanProofRules
    facts: ChainFacts
    nodes: Nodes
    """Whom routes ask for evidence; none is asked while a transaction is open."""

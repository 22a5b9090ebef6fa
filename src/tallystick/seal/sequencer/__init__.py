"""The sequencer: queued changes become leaves, tiles and signed checkpoints."""

from tallystick.seal.sequencer.sequencer import SealResult, Sequencer
from tallystick.seal.sequencer.store import Sealing, sealing_status, set_sealing
from tallystick.seal.sequencer.worker import SealObserver, SequencerWorker

__all__ = [
    "SealObserver",
    "SealResult",
    "Sealing",
    "Sequencer",
    "SequencerWorker",
    "sealing_status",
    "set_sealing",
]

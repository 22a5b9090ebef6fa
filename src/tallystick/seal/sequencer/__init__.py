"""The sequencer: queued changes become leaves, tiles and signed checkpoints."""

from tallystick.seal.sequencer.sequencer import SealResult, Sequencer
from tallystick.seal.sequencer.worker import SealObserver, SequencerWorker

__all__ = ["SealObserver", "SealResult", "Sequencer", "SequencerWorker"]

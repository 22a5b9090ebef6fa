"""The outbox: events written with their facts, and sinks (log.md, sections 2.9, 4.9)."""

from tallystick.outbox.cursors import (
    add_sink,
    list_sinks,
    pause_sink,
    resume_sink,
    skip_event,
)
from tallystick.outbox.events import (
    Event,
    EventId,
    EventPage,
    NewEvent,
    Position,
    emit,
    emit_many,
    newest_position,
    read_events,
)
from tallystick.outbox.notifier import EventNotifier
from tallystick.outbox.sinks import SINK_KINDS, SinkSettings
from tallystick.outbox.store import SinkState
from tallystick.outbox.topics import Reader, reader_with, register_topics, registered_topics
from tallystick.outbox.worker import OutboxSettings, run_outbox

__all__ = [
    "SINK_KINDS",
    "Event",
    "EventId",
    "EventNotifier",
    "EventPage",
    "NewEvent",
    "OutboxSettings",
    "Position",
    "Reader",
    "SinkSettings",
    "SinkState",
    "add_sink",
    "emit",
    "emit_many",
    "list_sinks",
    "newest_position",
    "pause_sink",
    "read_events",
    "reader_with",
    "register_topics",
    "registered_topics",
    "resume_sink",
    "run_outbox",
    "skip_event",
]

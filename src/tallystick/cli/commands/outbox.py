"""`tally outbox`: the sinks that events go to."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from cyclopts import Parameter

# Not used here: its import registers the topics of the log.
import tallystick.seal  # noqa: F401
from tallystick.chain.topics import CHAIN_TOPICS
from tallystick.cli.errors import UsageError
from tallystick.cli.output import show, show_list
from tallystick.cli.place import HERE, Place
from tallystick.cli.principal import operator_name
from tallystick.db import Transaction
from tallystick.identity import TOPICS as IDENTITY_TOPICS
from tallystick.outbox import (
    EventId,
    Position,
    SinkState,
    add_sink,
    list_sinks,
    pause_sink,
    register_topics,
    resume_sink,
    skip_event,
)

# Identity and chain know no outbox: where sinks are made their events are made known.
register_topics(IDENTITY_TOPICS)
register_topics(CHAIN_TOPICS)

COLUMNS = ("sink", "kind", "status", "position", "lag_events", "lag_seconds", "next_event_id")

SinkArgument = Annotated[str, Parameter(help="Name of the sink.")]
SinkKind = Literal["sse", "webhook", "file", "notify", "firestore"]


def list_all(*, place: Place = HERE) -> None:
    """List the sinks, with how far each is behind."""
    with place.transaction(read_only=True) as tx:
        sinks = list_sinks(tx)
    show_list(sinks, (*COLUMNS, "last_error"), as_json=place.json)


def add(
    sink: SinkArgument,
    kind: Annotated[SinkKind, Parameter(help="What it is.")],
    /,
    *,
    config: Annotated[str, Parameter(help='JSON, such as {"url": "https://…"}.')] = "{}",
    topic: Annotated[
        tuple[str, ...], Parameter(negative="", help="A topic; may be repeated. None: all.")
    ] = (),
    after: Annotated[int | None, Parameter(help="Begin behind this position.")] = None,
    place: Place = HERE,
) -> None:
    """Add a sink; it gets what is numbered from now on, or behind a position."""
    hosts = place.settings().outbox_webhook_hosts
    with place.transaction() as tx:
        add_sink(
            tx,
            sink,
            kind,
            config=parse_config(config),
            topics=topic,
            after=None if after is None else Position(after),
            webhook_hosts=hosts,
        )
        state = find_sink(tx, sink)
    show(state, as_json=place.json)


def pause(sink: SinkArgument, /, *, place: Place = HERE) -> None:
    """Stop deliveries to a sink; its events wait."""
    with place.transaction() as tx:
        pause_sink(tx, sink)
        state = find_sink(tx, sink)
    show(state, as_json=place.json)


def resume(sink: SinkArgument, /, *, place: Place = HERE) -> None:
    """Let a sink go on where it stopped, at once."""
    with place.transaction() as tx:
        resume_sink(tx, sink)
        state = find_sink(tx, sink)
    show(state, as_json=place.json)


def skip(
    sink: SinkArgument,
    event_id: Annotated[int, Parameter(help="The event that it would get next.")],
    /,
    *,
    reason: Annotated[str, Parameter(help="Why; it stands in the event that says so.")],
    place: Place = HERE,
) -> None:
    """Pass over the event that a sink would get next; that it was skipped is an event itself."""
    with place.transaction() as tx:
        skip_event(tx, sink, EventId(event_id), actor=operator_name(), reason=reason)
        state = find_sink(tx, sink)
    show(state, as_json=place.json)


def find_sink(tx: Transaction, sink: str) -> SinkState:
    """Return the state of *sink*, which is there."""
    return next(state for state in list_sinks(tx) if state.sink == sink)


def parse_config(text: str) -> dict[str, Any]:
    """
    Return the JSON object in *text*.

    Raises:
        UsageError: It is none.
    """
    try:
        config = json.loads(text)
    except ValueError as error:
        raise UsageError(f"--config is no JSON: {error}") from error
    if not isinstance(config, dict):
        raise UsageError("--config is a JSON object")
    return config

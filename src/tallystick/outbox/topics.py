"""
The topics that events may have, each with the scope that opens it (log.md, section 4.9).

A slice registers its topics when it is imported. An event of a topic that nobody registered
can be read by its own user alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NewType

from tallystick.outbox.errors import UnknownTopicError

Topic = NewType("Topic", str)
"""What happened, dotted: `log.checkpoint`."""
Scope = NewType("Scope", str)
"""A right of an API key: `log:read`."""

MAX_TOPIC_BYTES: Final = 100
"""With a key of 1,000 bytes the message of a NOTIFY stays below PostgreSQL's 8,000 bytes."""
TOPIC_FORM: Final = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")

_registered: dict[Topic, Scope] = {}


@dataclass(frozen=True, slots=True)
class Reader:
    """What somebody may read: every event of *topics*, and his own (*user_id*) of any topic."""

    topics: frozenset[Topic]
    user_id: str | None = None


def register_topics(topics: Mapping[str, str]) -> None:
    """Make *topics* known, each with the scope that may read it; once is as good as twice."""
    for topic, scope in topics.items():
        assert TOPIC_FORM.fullmatch(topic), f"{topic!r} is not dotted"
        assert len(topic) <= MAX_TOPIC_BYTES, f"{topic!r} is too long"
        known = _registered.setdefault(Topic(topic), Scope(scope))
        assert known == scope, f"{topic} is registered with {known} and with {scope}"


def registered_topics() -> Mapping[Topic, Scope]:
    """Every registered topic with the scope that may read it."""
    return MappingProxyType(_registered)


def check_topics(topics: Iterable[str]) -> None:
    """
    Check that each of *topics* is registered.

    Raises:
        UnknownTopicError: One is not; it is named.
    """
    for topic in topics:
        if topic not in _registered:
            raise UnknownTopicError(f"there is no topic {topic[:MAX_TOPIC_BYTES]!r}")


def reader_with(scopes: Collection[str], *, user_id: str | None) -> Reader:
    """What a principal with *scopes*, who is the user *user_id* if he is one, may read."""
    open_topics = (topic for topic, scope in _registered.items() if scope in scopes)
    return Reader(topics=frozenset(open_topics), user_id=user_id)

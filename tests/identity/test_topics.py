"""The events of identity are topics that the outbox knows (identity.md, section 2)."""

from __future__ import annotations

import importlib.resources
import re

import tallystick.http.routes.events  # its import registers the topics
from tallystick.identity import SCOPES, TOPICS
from tallystick.outbox import registered_topics


def test_every_event_is_a_known_topic() -> None:
    """Each topic that a function writes is registered, with a scope that exists; and no other."""
    assert tallystick.http.routes.events.__name__
    migrations = importlib.resources.files("tallystick.db").joinpath("migrations")
    written = {
        topic
        for file in migrations.iterdir()
        for topic in re.findall(r"'(identity\.[a-z]+\.[a-z]+)'", file.read_text("utf-8"))
    }
    assert written == set(TOPICS)
    assert TOPICS.items() <= registered_topics().items()
    assert set(TOPICS.values()) <= set(SCOPES)

"""Topics: who may read what."""

import pytest

from tallystick.outbox import Reader, reader_with, register_topics, registered_topics
from tallystick.outbox.errors import UnknownTopicError
from tallystick.outbox.topics import check_topics
from tests.outbox.support import OTHER_TOPIC, TOPIC


def test_a_scope_opens_its_topics_and_no_others():
    """A principal may read exactly the topics that his scopes open."""
    assert Reader(frozenset([TOPIC]), "u1") == reader_with({"test:read"}, user_id="u1")
    assert Reader(frozenset(), None) == reader_with(set(), user_id=None)
    assert Reader(frozenset([TOPIC, OTHER_TOPIC])) == reader_with(
        {"test:read", "other:read"}, user_id=None
    )


def test_a_topic_is_registered_with_one_scope():
    """To register a topic again changes nothing, and with another scope it is a bug."""
    register_topics({TOPIC: "test:read"})
    with pytest.raises(AssertionError, match="is registered with"):
        register_topics({TOPIC: "other:read"})
    assert registered_topics()[TOPIC] == "test:read"


@pytest.mark.parametrize("topic", ["undotted", "Upper.case", "a.", ".a", "a..b", "a." + "b" * 99])
def test_a_topic_is_dotted_and_short(topic):
    """What is not a dotted topic of at most 100 bytes cannot be registered."""
    with pytest.raises(AssertionError):
        register_topics({topic: "test:read"})


def test_an_unknown_topic_is_named():
    """Who asks for a topic that no slice has is told which."""
    with pytest.raises(UnknownTopicError, match=r"no\.such"):
        check_topics([TOPIC, "no.such"])

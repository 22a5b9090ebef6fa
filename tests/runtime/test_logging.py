"""Log lines: JSON, known names in their order, and nothing that could be a secret (log.md, 6.3)."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from tallystick.runtime.logging import configure_logging

CANARY = "canary-4711"


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Leave the logging of other tests as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    """What was logged, as objects, and nothing on stdout."""
    out, err = capsys.readouterr()
    assert out == ""
    return [json.loads(line) for line in err.splitlines()]


def test_fields_and_their_order(capsys: pytest.CaptureFixture[str]) -> None:
    """A line has the names of section 6.3 in their order, with the time in UTC."""
    configure_logging("info")
    structlog.get_logger().info(
        "seal.batch", rows=3, size=9, log="payments", duration_ms=1.5, request_id="r1", error=None
    )
    [line] = lines(capsys)
    assert list(line) == [
        "time", "level", "event", "log", "size", "rows", "duration_ms", "request_id", "error",
    ]  # fmt: skip
    assert str(line["time"]).endswith("Z")


def test_unknown_fields_are_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    """A row, a message or a token that somebody passes does not reach the line."""
    configure_logging("debug")
    structlog.get_logger().error("seal.failed", log="payments", row=CANARY, message=CANARY)
    try:
        int(CANARY)
    except ValueError:
        structlog.get_logger().exception("seal.failed", token=CANARY)
        logging.getLogger("somebody").exception("wrote %s", CANARY)
    found = lines(capsys)
    assert [line.get("error") for line in found] == [None, "ValueError", "ValueError"]
    assert CANARY not in json.dumps(found)


def test_level(capsys: pytest.CaptureFixture[str]) -> None:
    """What is below the level that is set is not written; libraries speak from warning on."""
    configure_logging("info")
    structlog.get_logger().debug("quiet")
    logging.getLogger("somebody").info("quiet")
    structlog.get_logger().info("loud")
    assert [line["event"] for line in lines(capsys)] == ["loud"]


def test_own_words_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    """A warning of our own modules keeps its words, without what fills them."""
    configure_logging("info")
    logging.getLogger("tallystick.seal.sources").warning("source %s is broken", CANARY)
    [line] = lines(capsys)
    assert line["event"] == "source %s is broken"

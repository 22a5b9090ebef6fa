"""The file sink: whole lines, on disk before they count."""

from __future__ import annotations

import datetime
import os
import stat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.outbox import Event
from tallystick.outbox.errors import DeliveryError, InvalidSinkError
from tallystick.outbox.sinks.file import FileSink, end_of_lines, parse_file_config

AT = datetime.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=datetime.UTC)


def event(number: int) -> Event:
    """The event at position *number*."""
    return Event(number, number, "test.happened", "k", None, "{}", AT)


def write(path, *numbers) -> None:
    """Write events through one sink."""
    sink = FileSink(path)
    for number in numbers:
        sink.deliver(event(number))
    sink.close()


def test_each_event_is_one_line_of_its_body(tmp_path):
    """The file holds each event's canonical JSON and a newline, in order, for its owner alone."""
    path = tmp_path / "events"
    write(path, 1, 2)
    write(path, 3)
    assert b"".join(event(n).body() + b"\n" for n in (1, 2, 3)) == path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_torn_line_is_cut_off(tmp_path):
    """What a killed process left of a line is gone before the next line is written."""
    path = tmp_path / "events"
    write(path, 1)
    with path.open("ab") as file:
        file.write(event(2).body()[:20])
    write(path, 2)
    assert b"".join(event(n).body() + b"\n" for n in (1, 2)) == path.read_bytes()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([b"\n", b"a" * 65_535, b"b" * 65_536, b"c", b""]), max_size=5))
def test_the_end_of_the_last_line_is_found_in_any_file(tmp_path_factory, parts):
    """The end of the last whole line is behind the last newline, over any block boundary."""
    path = tmp_path_factory.mktemp("lines") / "file"
    data = b"".join(parts)
    path.write_bytes(data)
    handle = os.open(path, os.O_RDONLY)
    try:
        assert data.rfind(b"\n") + 1 == end_of_lines(handle)
    finally:
        os.close(handle)


def test_only_regular_files_are_written(tmp_path):
    """A link, a directory and a pipe are refused, and what they lead to is left as it is."""
    target = tmp_path / "target"
    target.write_bytes(b"torn")
    (tmp_path / "link").symlink_to(target)
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", ".", "missing/file"):
        with pytest.raises(DeliveryError, match="cannot be written"):
            write(tmp_path / name, 1)
    assert target.read_bytes() == b"torn"


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"path": 1},
        {"path": "relative"},
        {"path": "/a\0b"},
        {"path": "/a/"},
        {"path": "/a", "b": 1},
    ],
)
def test_a_configuration_is_one_absolute_path(config):
    """Anything but one absolute path of a file is refused."""
    with pytest.raises(InvalidSinkError):
        parse_file_config(config)

"""`tally monitor` as a watchman: what ends it, and what it goes on after (log.md, 6.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tallystick.cli.commands import monitor as command
from tallystick.client.errors import NotFoundProblem
from tallystick.publish.errors import MonitoredForkError
from tallystick.tlog import MalformedNoteError
from tests.publish.test_monitor import VKEY

if TYPE_CHECKING:
    from pathlib import Path

    from tallystick.errors import Error

SEEN = command.Observed("log.example/shop", None, 3, b"\x01" * 32, "first")


def watch(
    monkeypatch: pytest.MonkeyPatch, state: Path, looks: list[Error | command.Observed]
) -> None:
    """Run the command over a log that shows *looks*, one after the other, without a pause."""
    left = iter(looks)

    def look(_self: command.Monitor) -> command.Observed:
        found = next(left)
        if isinstance(found, command.Observed):
            return found
        raise found

    monkeypatch.setattr(command.Monitor, "look", look)
    monkeypatch.setattr(command.time, "sleep", lambda _: None)
    command.monitor("http://log.example/logs/shop", vkey=(VKEY,), state=state)


def test_no_answer_ends_a_monitor_but_a_fork(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once it has seen its log, no garbage and no absence ends a monitor; a fork does."""
    looks = [SEEN, MalformedNoteError(), NotFoundProblem(status=404), SEEN, MonitoredForkError()]
    with pytest.raises(MonitoredForkError):
        watch(monkeypatch, tmp_path / "state", looks)
    told = capsys.readouterr()
    assert (told.out.count("first: "), told.err.count("\n")) == (2, 2)


def test_a_wrong_address_shows_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the log never was is an error at the first look, and not a monitor that sees nothing."""
    with pytest.raises(NotFoundProblem):
        watch(monkeypatch, tmp_path / "state", [NotFoundProblem(status=404), SEEN])

"""A story's commands: what they end with is what the story says, or it ends there."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from tallystick.runtime.demo.errors import DemoError
from tallystick.runtime.demo.processes import environment, free_port, run, temporary_place


def test_another_exit_code_ends_the_story(tmp_path: Path) -> None:
    """A command that ends with another code than the story expects is named, with its words."""
    arguments = ("log", "list", "--data", str(tmp_path))
    with pytest.raises(DemoError, match=r"`tally log list .* ended with 5, not 0: tally: no_data"):
        run(*arguments, at=tmp_path)
    with pytest.raises(DemoError, match="printed no JSON"):
        run(*arguments, at=tmp_path, code=5)


def test_settings_stay_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the caller reaches a story's commands, but where PostgreSQL is does."""
    monkeypatch.setenv("TALLY_DATABASE_URL", "postgresql://elsewhere/")
    monkeypatch.setenv("TALLY_POSTGRES_BIN", "/opt/postgresql/bin")
    ours = {name for name in environment() if name.startswith("TALLY_")}
    # A story needs no chain, so it is told to do without.
    assert {"TALLY_POSTGRES_BIN", "TALLY_DEV_CHAIN"} == ours


def test_taken_port_is_passed_over() -> None:
    """Where somebody listens on the wanted port, another is found."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert port != free_port(port)
    assert port == free_port(port)


def test_terminated_story_leaves_nothing() -> None:
    """SIGTERM ends a story like any exit: its directory is gone, and the handler is as before."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended, temporary_place() as place:
        (place / "file").touch()
        os.kill(os.getpid(), signal.SIGTERM)
    assert ended.value.code == 143
    assert not place.exists()
    assert before is signal.getsignal(signal.SIGTERM)

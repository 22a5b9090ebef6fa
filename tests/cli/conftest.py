"""What tests of commands share: `tally` run in this process, and a Tallystick to run it on."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tallystick.cli import run
from tallystick.config import load_settings
from tallystick.db import Database, connect
from tallystick.runtime.house import initialise
from tallystick.runtime.worker import run_worker


@dataclass
class Ran:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.out)


class Tally:
    """The command, on the database and keys of one test."""

    def __init__(self, capsys: pytest.CaptureFixture[str], options: list[str]) -> None:
        self._capsys = capsys
        self._options = options

    def __call__(self, *arguments: str) -> Ran:
        """Run `tally` with *arguments* and the options of this test."""
        return self.bare(*arguments, *self._options)

    def bare(self, *arguments: str) -> Ran:
        """Run `tally` with just *arguments*."""
        self._capsys.readouterr()
        code = run(arguments)
        out, err = self._capsys.readouterr()
        return Ran(code, out, err)


@pytest.fixture
def tally(capsys: pytest.CaptureFixture[str], database_url: str, tmp_path: Path) -> Tally:
    """`tally` on a database that `tally init` was not run on yet."""
    return Tally(capsys, ["--database-url", database_url, "--data", str(tmp_path / "data")])


@pytest.fixture
def house(database_url: str, tmp_path: Path) -> None:
    """The database after `tally init`."""
    settings = load_settings(data_dir=tmp_path / "data", database_url=database_url)
    initialise(settings, database_url)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A pool on this test's database."""
    with connect(database_url, pool_size=3) as pool:
        yield pool


@pytest.fixture
def worker(house: None, database_url: str, tmp_path: Path) -> Iterator[None]:
    """A worker that seals the house's logs while the test runs."""
    settings = load_settings(data_dir=tmp_path / "data", database_url=database_url, sequencers=1)
    stop = threading.Event()
    thread = threading.Thread(target=run_worker, args=(settings, stop))
    thread.start()
    yield
    stop.set()
    thread.join(20)
    assert not thread.is_alive()

"""Two Tallysticks, each with its own database and server, witness each other (log.md 5.8, 10)."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tallystick.config import Settings
from tallystick.publish.witness import create_witness_key, watch_log
from tallystick.publish.witnesses import add_witness, ask_witnesses, log_policy
from tallystick.runtime.witnessing import run_witnesses
from tallystick.seal.logs import list_keys
from tallystick.verify import QuorumMissingError, check_leaf
from tests.http.conftest import free_port, running
from tests.support.log_builder import LogBuilder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.http.conftest import Running
    from tests.support.server import TestServer


@dataclass
class House:
    """One Tallystick: its server, its log, and the key of its witness."""

    name: str
    server: Running
    builder: LogBuilder
    witness_vkey: str

    @property
    def log_vkeys(self) -> list[str]:
        """The keys of its log."""
        with self.builder.database.transaction(read_only=True) as tx:
            return [key.vkey for key in list_keys(tx, self.name)]

    @property
    def witness_url(self) -> str:
        """Where its witness is asked."""
        return f"{self.server.url}/api/v1/witness"

    def watch(self, other: House) -> None:
        """Let this house's witness cosign the other's log, and the other's log ask it."""
        with self.builder.database.transaction() as tx:
            watch_log(tx, other.log_vkeys, contact="the other house")
        with other.builder.database.transaction() as tx:
            add_witness(
                tx,
                other.name,
                vkey=self.witness_vkey,
                url=self.witness_url,
                allow_private_http=True,
            )


@contextlib.contextmanager
def house(server: TestServer, directory: Path, name: str) -> Iterator[House]:
    """Build and serve one Tallystick with one log and its own witness's key."""
    with server.database() as url:
        directory.mkdir()
        settings = Settings(
            database_url=url,
            data_dir=directory,
            key_dir=directory / "keys",
            port=free_port(),
            origin_prefix=f"{name}.example",
        )
        builder = LogBuilder(url, directory / "keys")
        builder.create(name, visibility="public", witness_quorum=2)
        with builder.database.transaction() as tx:
            key = create_witness_key(tx, builder.keys, f"{name}.example/witness")
        with running(settings, builder) as started:
            yield House(name, started, builder, key.vkey)
        builder.close()


@pytest.fixture
def houses(test_server: TestServer, tmp_path: Path) -> Iterator[tuple[House, House]]:
    """Two houses whose logs want two witnesses: both houses' own."""
    with (
        house(test_server, tmp_path / "a", "north") as north,
        house(test_server, tmp_path / "b", "south") as south,
    ):
        for watcher in (north, south):
            for watched in (north, south):
                watcher.watch(watched)
        yield north, south


def becomes(expected: object, look: object, *, within_seconds: float = 20) -> None:
    """Wait until *look* gives what is expected, and fail where it does not in time."""
    deadline = time.monotonic() + within_seconds
    while look() != expected and time.monotonic() < deadline:
        time.sleep(0.02)
    assert expected == look()


@contextlib.contextmanager
def asking(*houses: House) -> Iterator[None]:
    """Run the duty that asks witnesses in each house."""
    stop = threading.Event()
    threads = [
        threading.Thread(target=run_witnesses, args=(one.builder.database, stop)) for one in houses
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()


def test_two_houses_witness_each_other(houses: tuple[House, House]) -> None:
    """log 19: Two Tallysticks witness each other; a third party verifies with a 2-of-2 policy."""
    north, _south = houses
    with asking(*houses):
        for one in houses:
            for round_number in range(3):
                one.builder.append(one.name, [b"leaf %d" % round_number])
                one.builder.seal(one.name)
            becomes(3, lambda one=one: one.server.services.publisher.published_head(one.name).size)
    for one in houses:
        with one.builder.database.transaction(read_only=True) as tx:
            policy = log_policy(tx, one.name)
        assert b"group quorum-of-witnesses 2 w1 w2\n" in policy
        # The third party has the two files and the policy, and asks nobody.
        proof = one.server.anonymous.get(
            f"/logs/{one.name}/proof?index=1", headers={"Accept": "text/plain"}
        ).content
        verified = check_leaf(proof, leaf=b"leaf 1", policy=policy)
        assert {cosignature.name for cosignature in verified.cosignatures} == {
            "north.example/witness",
            "south.example/witness",
        }
        without = b"".join(
            line for line in proof.splitlines(True) if b"south.example/w" not in line
        )
        with pytest.raises(QuorumMissingError):
            check_leaf(without, leaf=b"leaf 1", policy=policy)
    assert north.server.anonymous.get("/logs/north/witnesses").json()["items"][0]["last_size"] == 3


def test_asking_once_is_enough(houses: tuple[House, House]) -> None:
    """`ask_witnesses` asks both for the newest checkpoint alone, and then has nothing to ask."""
    north, _ = houses
    north.builder.append("north", [b"a", b"b"])
    north.builder.seal("north")
    answers = ask_witnesses(north.builder.database, "north")
    assert [type(answer).__name__ for answer in answers] == ["Cosigned", "Cosigned"]
    north.server.services.publisher.refresh()
    assert north.server.services.publisher.published_head("north").size == 2
    assert ask_witnesses(north.builder.database, "north") == []
    sizes = north.builder.execute("SELECT DISTINCT tree_size FROM tally.cosignatures")
    assert sizes == [(2,)]

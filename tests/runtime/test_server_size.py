"""The memory that the embedded server takes (log.md, section 6.4)."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.runtime.postgres import EmbeddedPostgres, memory_bytes, shared_buffers

GIGABYTE = 2**30


@pytest.mark.parametrize(
    ("memory", "expected"),
    [(GIGABYTE // 2, "128MB"), (2 * GIGABYTE, "256MB"), (64 * GIGABYTE, "2048MB")],
)
def test_buffers_follow_the_memory(memory, expected):
    """The buffers are an eighth of the memory, within PostgreSQL's default and 2 GB."""
    assert expected == shared_buffers(memory)


@given(st.integers(0, 2**45), st.integers(0, 2**45))
def test_more_memory_never_means_smaller_buffers(one, other):
    """The size only grows with the memory."""
    less, more = sorted((one, other))
    assert int(shared_buffers(less)[:-2]) <= int(shared_buffers(more)[:-2])


def test_the_machine_has_memory():
    """What this machine or container may use is found, and is no more than the machine has."""
    assert memory_bytes() > 2**26


def test_a_durable_server_is_sized_and_a_throwaway_one_is_not(tmp_path: Path, postgres_bin):
    """A server for tests keeps the default size; one that is kept is sized and waits for disk."""
    durable = EmbeddedPostgres(tmp_path / "durable", bin_dir=postgres_bin)
    throwaway = EmbeddedPostgres(tmp_path / "throwaway", bin_dir=postgres_bin, durable=False)
    try:
        assert shared_buffers(memory_bytes()) == shown(durable)
        assert shown(throwaway) == "128MB"
    finally:
        durable.remove()
        throwaway.remove()


def shown(server: EmbeddedPostgres) -> str:
    """Start the server and return the size of its buffers, in MB."""
    server.start()
    with psycopg.connect(server.url()) as connection:
        row = connection.execute(
            "SELECT setting::bigint * 8192 / 2^20 FROM pg_settings WHERE name = 'shared_buffers'"
        ).fetchone()
    return f"{row[0]:.0f}MB"

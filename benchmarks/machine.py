"""What a run ran on: a figure without its machine says nothing."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import psycopg

from tallystick.runtime.postgres import memory_bytes


def describe_machine(connection: psycopg.Connection) -> str:
    """Return one line: processor, cores, memory, load, Python, PostgreSQL and its durability."""
    cores = len(os.sched_getaffinity(0))
    load, _, _ = os.getloadavg()
    server = ", ".join(f"{name} {shown(connection, name)}" for name in ("fsync", "shared_buffers"))
    memory = f"{memory_bytes() / 2**30:.0f} GiB"
    return (
        f"{processor()}, {cores} cores, {memory}, load {load:.1f} at the end;"
        f" Python {platform.python_version()};"
        f" PostgreSQL {shown(connection, 'server_version')}, {server}"
    )


def processor() -> str:
    """Return the processor's name as the kernel knows it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def shown(connection: psycopg.Connection, setting: str) -> str:
    """Return a setting of the server."""
    row = connection.execute("SELECT current_setting(%s)", (setting,)).fetchone()
    assert row is not None
    return str(row[0])

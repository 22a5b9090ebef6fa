"""Rows that the figures of identity stand among: 100,000 in each table, put there by SQL."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import psycopg

from benchmarks.ground import Ground
from tallystick.db import Database, connect

ROWS: Final = 100_000
QUICK_ROWS: Final = 5_000
OPERATOR: Final = "system:benchmark"
USERS: Final = """
  INSERT INTO tally.users (id, wallet_address, username, tags, created_at)
  SELECT 'user' || i, '0x' || lpad(to_hex(i), 40, '0'), 'name' || i,
    ARRAY['all', 'tag' || mod(i, 100)], timestamptz '2026-01-01' + i * interval '1 second'
  FROM generate_series(1, %(rows)s) AS g (i)
"""
HISTORY: Final = """
  INSERT INTO tally.user_risk_history
    (user_id, kind, old_score, new_score, reason_code, reason, actor)
  SELECT 'user' || i, 'set', 0, mod(i, 10000) / 100.0, 'benchmark', 'benchmark', 'system:benchmark'
  FROM generate_series(1, %(rows)s) AS g (i)
"""
SCORES: Final = """
  UPDATE tally.users AS u SET risk_score = h.new_score
  FROM tally.user_risk_history AS h WHERE h.user_id = u.id
"""
KEYS: Final = """
  INSERT INTO tally.api_keys
    (id, user_id, key_hash, prefix, name, tier, rate_limit, scopes, changed_by, created_at,
      expires_at)
  SELECT lpad(to_hex(i), 32, '0')::uuid, 'user' || i, sha256(convert_to(i::text, 'UTF8')),
    'tly_' || lpad(i::text, 9, '0'), 'key', 'enterprise', 1000000, '{log:read}', 'system:benchmark',
    timestamptz '2026-01-01' + i * interval '1 second',
    tally.clock() + interval '1 day' + i * interval '1 second'
  FROM generate_series(1, %(rows)s) AS g (i)
"""


@dataclass(frozen=True, slots=True)
class People:
    """A filled database and a pool on it."""

    url: str
    database: Database
    rows: int


def people(ground: Ground) -> People:
    """Return the filled database, which the first figure fills and the run keeps."""
    found = ground.shared("identity", lambda: filled(ground))
    assert isinstance(found, People)
    return found


@contextlib.contextmanager
def filled(ground: Ground) -> Iterator[People]:
    """Fill a database of its own."""
    rows = ground.scale.pick(ROWS, QUICK_ROWS)
    with ground.database() as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SET statement_timeout = 0")
            for statement in (USERS, HISTORY, KEYS):
                connection.execute(statement, {"rows": rows})
            connection.execute(SCORES)
            # No bucket is to be the reason of an answer: what is measured is the way to it.
            connection.execute(
                "UPDATE tally.api_tiers SET rate_limit = 10000000 WHERE tier = 'enterprise'"
            )
            connection.execute("VACUUM ANALYZE")
        with connect(url) as database:
            yield People(url, database, rows)


def key_of(number: int) -> tuple[bytes, bytes]:
    """Return the hash and the prefix of the key of a number."""
    return hashlib.sha256(str(number).encode()).digest(), f"tly_{number:09d}".encode()

"""A map of a log's keys, made as naively as its definition reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

RECORD_TAG = b"tallystick/seal-record/v1\n"
BUCKETS = 65536


def sha256(data: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(data).digest()


def naive_lists(leaves: Sequence[bytes]) -> dict[bytes, list[int]]:
    """The indexes of each key's leaves, by the hash of table and key."""
    lists: dict[bytes, list[int]] = {}
    for index, leaf in enumerate(leaves):
        if not leaf.startswith(RECORD_TAG):
            continue
        record = json.loads(leaf[len(RECORD_TAG) :])
        if record["table"] is None:
            continue
        named = {"key": record["key"], "table": record["table"]}
        text = json.dumps(named, separators=(",", ":"), ensure_ascii=False)
        key_hash = sha256(b"tallystick/seal-index-key/v1\n" + text.encode())
        lists.setdefault(key_hash, []).append(index)
    return lists


def naive_entry(key_hash: bytes, indexes: list[int]) -> bytes:
    """The chain over a key's indexes."""
    chain = key_hash
    for index in indexes:
        chain = sha256(b"tallystick/seal-index-entry/v1\n\x00" + chain + index.to_bytes(8, "big"))
    return chain


def naive_root(leaves: Sequence[bytes]) -> bytes:
    """The root of the map of all *leaves*."""
    buckets: list[list[tuple[bytes, bytes]]] = [[] for _ in range(BUCKETS)]
    for key_hash, indexes in naive_lists(leaves).items():
        entry = naive_entry(key_hash, indexes)
        buckets[key_hash[0] * 256 + key_hash[1]].append((key_hash, entry))
    tag = b"tallystick/seal-index-bucket/v1\n\x00"
    row = [
        sha256(b"\x00" + tag + b"".join(key + entry for key, entry in sorted(bucket)))
        for bucket in buckets
    ]
    while len(row) > 1:
        row = [sha256(b"\x01" + row[place] + row[place + 1]) for place in range(0, len(row), 2)]
    return row[0]

"""
The Python client: the reading verbs of a log over HTTP, and `append_entry` (log.md, 4.4, 6.2).

Nothing that the server says is believed further than its form: who wants evidence passes
proofs and checkpoints to `tallystick.verify`, which asks nobody.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import quote

from tallystick.client.errors import MalformedAnswerError
from tallystick.client.transport import TIMEOUT_SECONDS, Transport
from tallystick.client.values import Entry, GrowthProof, LeafProof, Page, Root
from tallystick.tlog import Hash, LeafIndex, TreeSize, check_consistency

HASH_BYTES: Final = 32
Item = TypeVar("Item")


class Client:
    """
    The server at *url*, asked with the API key *key*; public logs need none.

    Each method is one request and takes at most *timeout_seconds*, 10 unless given.

    Raises:
        ServerUnreachableError: No connection, or no answer in time.
        RequestRefusedError: The server refused; its subclass and `problem` say why.
        MalformedAnswerError: The answer is not what the API promises.
    """

    def __init__(
        self, url: str, key: str | None = None, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        self._transport = Transport(url, key, timeout_seconds=timeout_seconds)

    def list_logs(
        self, *, after: str | None = None, limit: int | None = None
    ) -> Page[Mapping[str, Any]]:
        """Return the logs that this key may see, a page at a time."""
        return self._list("/logs", {"after": after, "limit": limit}, dict)

    def has_log(self, log: str) -> bool:
        """Return whether there is a log of this name."""
        return _boolean(self._ask(log, "exists"), "exists")

    def size_of(self, log: str) -> TreeSize:
        """Return the published size of the log."""
        return TreeSize(_number(self._ask(log, "size"), "size"))

    def root_at(self, log: str, *, size: int | None = None) -> Root:
        """Return the published tree, or the one of *size*."""
        answer = self._ask(log, "root", size=size)
        return Root(
            size=TreeSize(_number(answer, "tree_size")),
            root=_hash(answer, "merkle_root"),
            checkpoint=answer.get("checkpoint"),
            signed_at=answer.get("signed_at"),
        )

    def checkpoint(self, log: str) -> bytes:
        """Return the published checkpoint: the note with its cosignatures."""
        return self._transport.get(f"{_path(log)}/checkpoint", accept="text/plain")

    def prove_leaf(
        self,
        log: str,
        *,
        index: int | None = None,
        leaf: bytes | None = None,
        leaf_hash: bytes | None = None,
        table: str | None = None,
        key: Sequence[str] | None = None,
        version: str | int | None = None,
        size: int | None = None,
    ) -> LeafProof:
        """Return the proof of a leaf: by index, bytes, hash, or a row's key and version."""
        answer = self._ask(
            log,
            "proof",
            index=index,
            hash=_encoded(leaf),
            leaf_hash=_encoded(leaf_hash),
            table=table,
            key=_key(key),
            version=version,
            size=size,
        )
        proof = _member(answer, "proof", dict)
        return LeafProof(
            index=LeafIndex(_number(proof, "index")),
            size=TreeSize(_number(proof, "tree_size")),
            root=_hash(proof, "root"),
            leaf_hash=_hash(proof, "leaf_hash"),
            hashes=_hashes(proof),
        )

    def prove_leaf_file(
        self,
        log: str,
        *,
        index: int | None = None,
        table: str | None = None,
        key: Sequence[str] | None = None,
        version: str | int | None = None,
    ) -> bytes:
        """Return the `.tlog-proof` of a leaf, as `tallystick.verify.check_leaf` takes it."""
        parameters = {"index": index, "table": table, "key": _key(key), "version": version}
        return self._transport.get(f"{_path(log)}/proof", parameters, accept="text/plain")

    def prove_growth(
        self,
        log: str,
        *,
        old_size: int | None = None,
        old_root: bytes | None = None,
        new_size: int | None = None,
    ) -> GrowthProof:
        """Return the proof that the newer tree extends the older one, by its size or its root."""
        answer = self._ask(
            log, "consistency", old_size=old_size, old_root=_encoded(old_root), new_size=new_size
        )
        proof = _member(answer, "proof", dict)
        return GrowthProof(
            old_size=TreeSize(_number(proof, "old_tree_size")),
            old_root=_hash(proof, "old_root"),
            new_size=TreeSize(_number(proof, "new_tree_size")),
            new_root=_hash(proof, "new_root"),
            hashes=_hashes(proof),
        )

    def verify_growth(self, log: str, *, old_size: int, old_root: bytes) -> Root:
        """
        Return the published tree, after checking that it extends the tree that the caller knew.

        That the log's key signed it is not checked: `tallystick.verify.check_growth` does.

        Raises:
            ConsistencyError: It does not.
            MalformedProofError: The proof is not of the length that the sizes need.
        """
        proof = self.prove_growth(log, old_size=old_size)
        check_consistency(
            proof.hashes,
            old_size=TreeSize(old_size),
            old_root=Hash(old_root),
            new_size=proof.new_size,
            new_root=proof.new_root,
        )
        return Root(proof.new_size, proof.new_root, None, None)

    def has_leaf(
        self, log: str, *, leaf: bytes | None = None, leaf_hash: bytes | None = None
    ) -> bool:
        """Return whether the published tree has this leaf."""
        answer = self._ask(log, "has_leaf", hash=_encoded(leaf), leaf_hash=_encoded(leaf_hash))
        return _boolean(answer, "exists")

    def has_root(self, log: str, root: bytes) -> bool:
        """Return whether the log ever signed this root."""
        return _boolean(self._ask(log, "has_root", root=_encoded(root)), "exists")

    def find_root(self, log: str, root: bytes) -> TreeSize | None:
        """Return the size of the signed tree that has this root; None where there is none."""
        answer = self._ask(log, "has_root", root=_encoded(root))
        found = _boolean(answer, "exists")
        return TreeSize(_number(answer, "tree_size")) if found else None

    def entries(
        self, log: str, *, after: str | None = None, limit: int | None = None
    ) -> Page[Entry]:
        """Return leaves in the order of their indexes, a page at a time."""
        return self._list(f"{_path(log)}/entries", {"after": after, "limit": limit}, _entry)

    def entry(self, log: str, index: int) -> Entry:
        """Return one leaf."""
        return _entry(self._ask(log, f"entries/{int(index)}"))

    def row_history(
        self,
        log: str,
        table: str,
        key: Sequence[str],
        *,
        at_size: int | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> Page[Mapping[str, Any]]:
        """Return the versions of a row, by index; with *at_size* as the log knew them then."""
        parameters = {
            "table": table,
            "key": _key(key),
            "at_size": at_size,
            "after": after,
            "limit": limit,
        }
        return self._list(f"{_path(log)}/rows", parameters, dict)

    def search(
        self,
        log: str,
        *,
        table: str | None = None,
        op: str | None = None,
        role: str | None = None,
        actor: str | None = None,
        columns: Mapping[str, str] | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> Page[Mapping[str, Any]]:
        """Return leaves that fit every condition, the newest first."""
        parameters: dict[str, object] = {
            "table": table,
            "op": op,
            "role": role,
            "actor": actor,
            "after": after,
            "limit": limit,
            "column": [f"{name}={value}" for name, value in (columns or {}).items()] or None,
        }
        return self._list(f"{_path(log)}/search", parameters, dict)

    def list_checkpoints(
        self, log: str, *, after: str | None = None, limit: int | None = None
    ) -> Page[Mapping[str, Any]]:
        """Return the signed checkpoints."""
        return self._list(f"{_path(log)}/checkpoints", {"after": after, "limit": limit}, dict)

    def list_keys(self, log: str) -> Page[Mapping[str, Any]]:
        """Return the log's public keys with the sizes that each signs."""
        return self._list(f"{_path(log)}/keys", {}, dict)

    def list_witnesses(self, log: str) -> Page[Mapping[str, Any]]:
        """Return the log's witnesses."""
        return self._list(f"{_path(log)}/witnesses", {}, dict)

    def append_entry(self, log: str, data: bytes, *, deduplicate: bool = False) -> LeafIndex:
        """
        Push *data* (1 to 65,535 bytes) into the log and return its index, once it is sealed.

        With *deduplicate* the same bytes give the index that they have already.
        """
        query = "?deduplicate=1" if deduplicate else ""
        answer = self._transport.post(f"{_path(log)}/add{query}", data)
        text = answer.decode("ascii", "replace").strip()
        if not text.isdecimal():
            raise MalformedAnswerError("the server answers with no index")
        return LeafIndex(int(text))

    def _ask(self, log: str, what: str, **parameters: object) -> dict[str, Any]:
        return self._transport.get_json(f"{_path(log)}/{what}", parameters)

    def _list(
        self, path: str, parameters: Mapping[str, object], item: Callable[[Any], Item]
    ) -> Page[Item]:
        answer = self._transport.get_json(path, parameters)
        items = _member(answer, "items", list)
        following = answer.get("next")
        if not all(isinstance(one, dict) for one in items):
            raise MalformedAnswerError("a list has an item that is no object")
        return Page(
            tuple(item(one) for one in items), None if following is None else str(following)
        )


def _path(log: str) -> str:
    return f"/logs/{quote(log, safe='')}"


def _key(key: Sequence[str] | None) -> str | None:
    """Return a key as the API takes it: the JSON array of its column texts."""
    if key is None:
        return None
    columns = [key] if isinstance(key, str) else list(key)
    return json.dumps(columns, separators=(",", ":"), ensure_ascii=False)


def _encoded(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def _member(answer: Mapping[str, Any], name: str, kind: type[Item]) -> Item:
    value = answer.get(name)
    if not isinstance(value, kind):
        raise MalformedAnswerError(f"the answer has no {name}")
    return value


def _number(answer: Mapping[str, Any], name: str) -> int:
    value = _member(answer, name, int)
    if isinstance(value, bool) or value < 0:
        raise MalformedAnswerError(f"{name} is no size or index")
    return value


def _boolean(answer: Mapping[str, Any], name: str) -> bool:
    return _member(answer, name, bool)


def _bytes(answer: Mapping[str, Any], name: str) -> bytes:
    try:
        return base64.b64decode(_member(answer, name, str), validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedAnswerError(f"{name} is no base64") from error


def _hash(answer: Mapping[str, Any], name: str) -> Hash:
    value = _bytes(answer, name)
    if len(value) != HASH_BYTES:
        raise MalformedAnswerError(f"{name} has {len(value)} bytes and is no hash")
    return Hash(value)


def _hashes(proof: Mapping[str, Any]) -> tuple[Hash, ...]:
    values = _member(proof, "hashes", list)
    return tuple(_hash({"hashes": value}, "hashes") for value in values)


def _entry(item: Mapping[str, Any]) -> Entry:
    record = item.get("record")
    return Entry(
        index=LeafIndex(_number(item, "index")),
        leaf=_bytes(item, "leaf"),
        leaf_hash=_hash(item, "leaf_hash"),
        record=record if isinstance(record, dict) else None,
    )

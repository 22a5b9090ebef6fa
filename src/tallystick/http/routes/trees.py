"""Heads, roots and proofs of one log (log.md, section 6.2)."""

from __future__ import annotations

from typing import Final

import msgspec
from litestar import MediaType, Response, get
from litestar.params import FromQuery

from tallystick.clock import format_time
from tallystick.http.answers import (
    Consistency,
    Exists,
    Proof,
    Proofs,
    Root,
    RootExists,
    Size,
    consistency_proof,
    encoded,
    inclusion_proof,
)
from tallystick.http.asked import (
    AnyRequest,
    Caller,
    Head,
    Key,
    LeafBytes,
    LogName,
    Number,
    Served,
    Text,
    Texts,
)
from tallystick.http.authorize import may_call
from tallystick.http.parameters import parse_binary, parse_hash, parse_indexes, parse_version
from tallystick.http.scopes import HASHES
from tallystick.http.services import Services
from tallystick.publish import LeafProof, PublishedHead, RowKey
from tallystick.publish.errors import CheckpointNotFoundError
from tallystick.publish.heads import with_cosignatures
from tallystick.seal.errors import InvalidRequestError
from tallystick.tlog import Hash, LeafIndex, TreeSize, hash_leaf

SELECTORS: Final = ("index", "indexes", "hash", "leaf_hash", "table")
"""By what a leaf's proof can be asked for; one of them at a time."""


@get("/logs/{log:str}/root", sync_to_thread=True)
def get_root(services: Served, head: Head, size: Number = None) -> Root:
    """The root of the published tree, or of the one of `size` leaves."""
    if size is None or size == head.size:
        return Root(
            log_name=head.log_name,
            merkle_root=encoded(head.root),
            tree_size=head.size,
            checkpoint=head.checkpoint.decode(),
            signed_at=format_time(head.signed_at),
            witnessed=head.witnesses,
            last_processed_id=head.size,
        )
    return past_root(services, head, TreeSize(size))


def past_root(services: Services, head: PublishedHead, size: TreeSize) -> Root:
    """Return the root of an earlier tree, with its checkpoint if one was signed."""
    root = services.publisher.root_at(head, size)
    checkpoint, signed_at, lines = None, None, list[str]()
    try:
        signed = services.publisher.checkpoint_at(head, size)
    except CheckpointNotFoundError:
        pass
    else:
        lines = services.publisher.cosignature_lines(head, size)
        checkpoint = with_cosignatures(signed.note, lines).decode()
        signed_at = format_time(signed.signed_at)
    return Root(
        log_name=head.log_name,
        merkle_root=encoded(root),
        tree_size=size,
        checkpoint=checkpoint,
        signed_at=signed_at,
        witnessed=len(lines),
        last_processed_id=size,
    )


@get("/logs/{log:str}/size", sync_to_thread=False)
def get_size(head: Head) -> Size:
    """How many leaves the log has published."""
    return Size(log_name=head.log_name, size=head.size)


@get("/logs/{log:str}/exists", sync_to_thread=False)
def get_exists(services: Served, log: LogName) -> Exists:
    """Whether there is a log of this name, or a family of logs."""
    return Exists(log_name=log, exists=services.publisher.heads.find(log) is not None)


@get("/logs/{log:str}/proof", sync_to_thread=True)
def get_proof(
    request: AnyRequest,
    services: Served,
    principal: Caller,
    head: Head,
    index: Number = None,
    indexes: Texts = None,
    leaf: LeafBytes = None,
    leaf_hash: Text = None,
    table: Text = None,
    key: Key = None,
    version: Text = None,
    size: Number = None,
) -> Response[bytes]:
    """
    The proof of a leaf in the published tree, or in that of `size` leaves: by `index`, by
    leaf bytes (`hash`), by `leaf_hash`, or by `table` and `key` (`version`: last, first, all
    or an index; without `size` also in the logs that this one continues: `log_name` says in
    which). `Accept: text/plain` gives a C2SP tlog-proof.
    """
    chosen = [name for name in SELECTORS if name in request.query_params]
    if len(chosen) != 1:
        raise InvalidRequestError(f"name one of {', '.join(SELECTORS)}")
    count: int | msgspec.UnsetType = msgspec.UNSET
    equal: list[int] | msgspec.UnsetType = msgspec.UNSET
    publisher = services.publisher
    if indexes is not None:
        proofs = publisher.prove_indexes(head, parse_indexes(indexes), size)
    elif table is not None:
        row = RowKey.of(table, key_columns(key))
        wanted = parse_version(version or "last")
        if size is None:
            # A row's last word may stand in a log that this one continues; the answer names it.
            head = publisher.log_of_row(
                head, row, wanted, may_follow=lambda log: may_call(HASHES, principal, log)
            )
        proofs = publisher.prove_row(head, row, wanted, size)
    elif index is not None:
        proofs = [publisher.prove_index(head, LeafIndex(index), size)]
    else:
        found = publisher.prove_hash(head, parse_leaf_hash(leaf, leaf_hash), size)
        proofs, count, equal = [found.proof], found.count, list[int](found.equal_indexes)
    if request.headers.get("accept", "").startswith(MediaType.TEXT):
        return proof_file(services, head, proofs, size)
    answered = [inclusion_proof(proof) for proof in proofs]
    if indexes is not None or version == "all":
        return json_response(Proofs(log_name=head.log_name, proofs=answered))
    return json_response(
        Proof(log_name=head.log_name, proof=answered[0], count=count, indexes=equal)
    )


def proof_file(
    services: Services, head: PublishedHead, proofs: list[LeafProof], size: int | None
) -> Response[bytes]:
    """
    Return the tlog-proof of the one leaf in *proofs*.

    Raises:
        InvalidRequestError: There are several.
    """
    if len(proofs) != 1:
        raise InvalidRequestError("a tlog-proof is of one leaf")
    file = services.publisher.proof_file(head, proofs[0].index, size)
    return Response(file, media_type=MediaType.TEXT)


@get("/logs/{log:str}/consistency", sync_to_thread=True)
def get_consistency(
    services: Served,
    head: Head,
    old_root: Text = None,
    old_size: Number = None,
    new_size: Number = None,
) -> Consistency:
    """The proof that the published tree, or that of `new_size`, extends an older one."""
    if (old_root is None) == (old_size is None):
        raise InvalidRequestError("name one of old_root and old_size")
    old: int | Hash = parse_hash(old_root, name="old_root") if old_root else old_size or 0
    proof = services.publisher.prove_growth(head, old, new_size)
    return Consistency(log_name=head.log_name, proof=consistency_proof(proof))


@get("/logs/{log:str}/has_leaf", sync_to_thread=True)
def has_leaf(
    services: Served,
    head: Head,
    leaf: LeafBytes = None,
    leaf_hash: Text = None,
) -> Exists:
    """Whether the published tree has a leaf, by its bytes (`hash`) or `leaf_hash`."""
    digest = parse_leaf_hash(leaf, leaf_hash)
    return Exists(log_name=head.log_name, exists=services.publisher.find_leaf(head, digest))


@get("/logs/{log:str}/has_root", sync_to_thread=True)
def has_root(services: Served, head: Head, root: FromQuery[str]) -> RootExists:
    """Whether a checkpoint with this root was signed."""
    size = services.publisher.find_root(head, parse_hash(root, name="root"))
    return RootExists(log_name=head.log_name, exists=size is not None, tree_size=size)


def parse_leaf_hash(leaf: str | None, leaf_hash: str | None) -> Hash:
    """
    Return the leaf hash that a request gives, by the leaf's bytes or as it is.

    Raises:
        InvalidRequestError: It gives both or neither, or one is not of its form.
    """
    if leaf is not None and leaf_hash is None:
        return hash_leaf(parse_binary(leaf, name="hash"))
    if leaf_hash is not None and leaf is None:
        return parse_hash(leaf_hash, name="leaf_hash")
    raise InvalidRequestError("name one of hash and leaf_hash")


def key_columns(key: list[str] | None) -> list[str]:
    """
    Return the columns of a key: one by one, or the JSON array that leaves carry.

    Raises:
        InvalidRequestError: There is none.
    """
    if not key:
        raise InvalidRequestError("a row is named by table and key")
    if len(key) == 1 and key[0].startswith("["):
        try:
            return msgspec.json.decode(key[0], type=list[str])
        except msgspec.DecodeError:
            return key  # a key's text may begin like an array
    return key


def json_response(body: msgspec.Struct) -> Response[bytes]:
    """Return *body* as JSON."""
    return Response(msgspec.json.encode(body), media_type=MediaType.JSON)

"""
Every parser of bytes that strangers send, with true inputs to begin from.

A parser returns a value or raises an `Error`; anything else, for any bytes, is a bug.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from tallystick import record, tlog, verify
from tallystick.errors import Error
from tallystick.http import parameters
from tallystick.http.static import parse_static
from tallystick.publish.export.manifest import parse_manifest
from tallystick.tlog import Note, Signature, format_entry_bundle
from tallystick.tlog.note import parse_note
from tallystick.verify.export import check_export_tree
from tests.support.sealed import SALT, SealedLog, payment, vector_leaves, witness_signer

KERNEL: Sequence[ModuleType] = (tlog, record, verify)
LOG = SealedLog(vector_leaves(), witnesses=[witness_signer()])
CHANGE = payment(7, salt=SALT, private_columns={"note"})
VKEY = b"log.example/payments+37b1640e+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"
SEEDS: dict[str, bytes] = {
    "note": LOG.note_bytes(),
    "proof": LOG.proof(1),
    "policy": LOG.policy(url="https://log.example/logs/payments"),
    "vkey": VKEY,
    "skey": b"PRIVATE+KEY+log.example/payments+37b1640e+"
    b"AQABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f",
    "bundle": format_entry_bundle(vector_leaves()),
    "tile path": b"tile/0/x001/x234/067.p/8",
    "entries path": b"tile/entries/x001/067.p/255",
    "record": vector_leaves()[0],
    "private record": record.format_record(CHANGE),
    "time": b"2026-01-02T03:04:05.000006Z",
    "growth": b"old 2\n\n" + LOG.note_bytes(),
    "size": b"20852163",
    "json": b'{"created_at":"2026-01-02T03:04:05.000006Z","event_id":7,"key":"a","payload":{},'
    b'"position":5,"topic":"log.checkpoint"}',
    "path": b"/logs/payments/tile/0/000.p/3",
    "address": b"0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913",
    "hash": b"0x" + b"c3" * 32,
    "rlp": bytes.fromhex("d88363617483646f6780c0c7c0c1c0c3c0c1c0b8"),
    "binary": b"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
}


def text(parse: Callable[[str], Any]) -> Callable[[bytes], Any]:
    """Return a parser of text as a parser of bytes, by the encoding that has a text for each."""
    return lambda data: parse(data.decode("latin-1"))


def signatures(data: bytes) -> None:
    """Parse a note, and each of its lines as a cosignature."""
    note: Note = parse_note(data)
    for signature in note.signatures:
        assert isinstance(signature, Signature)
        tlog.parse_cosignature(signature)


def whole_verdict(data: bytes) -> None:
    """Judge a proof, whatever it is."""
    verify.check_leaf(data, leaf=LOG.leaves[1], policy=LOG.policy())


class OneObject:
    """An export in which every object has the same bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def read_object(self, path: str) -> bytes:
        """The bytes."""
        return LOG.note_bytes() if path == "checkpoint" else self.data


def trie_proof(data: bytes) -> None:
    """Walk through a node of a trie, whatever it is, to each of its kinds of place."""
    for index in (0, 1, 127, 128, 65_536):
        root = record.keccak256(data)
        record.check_trie_proof([data, data], root=root, index=index, item=data)


def inclusion(data: bytes) -> None:
    """Judge the evidence of a receipt whose header and receipt are whatever they are."""
    block_hash = record.BlockHash("0x" + record.keccak256(data).hex())
    verify.check_inclusion_evidence(
        header_rlp=data,
        receipt_rlp=data,
        receipt_proof=[data],
        block_hash=block_hash,
        transaction_index=0,
    )


PARSERS: dict[str, Callable[[bytes], Any]] = {
    "parse_add_checkpoint": tlog.parse_add_checkpoint,
    "parse_checkpoint": text(tlog.parse_checkpoint),
    "parse_cosignature": signatures,
    "parse_entries_path": text(tlog.parse_entries_path),
    "parse_entry_bundle": tlog.parse_entry_bundle,
    "parse_note": tlog.parse_note,
    "parse_policy": tlog.parse_policy,
    "parse_signature_lines": tlog.parse_signature_lines,
    "parse_signer_key": text(tlog.parse_signer_key),
    "parse_tile_path": text(tlog.parse_tile_path),
    "parse_tlog_proof": tlog.parse_tlog_proof,
    "parse_verifier_key": text(tlog.parse_verifier_key),
    "parse_witness_size": tlog.parse_witness_size,
    "parse_canonical": record.parse_canonical,
    "parse_disclosure": record.parse_disclosure,
    "parse_disclosure_file": record.parse_disclosure_file,
    "parse_outbox_event": record.parse_outbox_event,
    "parse_record": record.parse_record,
    "parse_tagged": lambda data: record.parse_tagged(b"tallystick/test/v1\n", data),
    "parse_address": text(record.parse_address),
    "parse_block_hash": text(record.parse_block_hash),
    "parse_header": record.parse_header,
    "parse_receipt": record.parse_receipt,
    "parse_transaction_hash": text(record.parse_transaction_hash),
    "rlp_decode": record.rlp_decode,
    "check_trie_proof": trie_proof,
    "check_inclusion_evidence": inclusion,
    "parse_chain": verify.parse_chain,
    "check_leaf": whole_verdict,
    "check_leaf's policy": lambda data: verify.check_leaf(
        LOG.proof(1), leaf=LOG.leaves[1], policy=data
    ),
    "check_leaf's leaf": lambda data: verify.check_leaf(
        LOG.proof(1), leaf=data, policy=LOG.policy()
    ),
    "check_growth": lambda data: verify.check_growth(data, data, [], LOG.policy()),
    "check_chain": lambda data: verify.check_chain(data, leaf=LOG.leaves[1], policy=LOG.policy()),
    "check_history": lambda data: verify.check_history(data, policy=LOG.policy()),
    "check_export_tree": lambda data: check_export_tree(OneObject(data), LOG.policy()),
    "log.json": parse_manifest,
    "static path": text(parse_static),
    "parameter: binary": text(lambda value: parameters.parse_binary(value, name="hash")),
    "parameter: hash": text(lambda value: parameters.parse_hash(value, name="hash")),
    "parameter: number": text(lambda value: parameters.parse_number(value, name="index")),
    "parameter: indexes": text(lambda value: parameters.parse_indexes([value])),
    "parameter: version": text(parameters.parse_version),
    "parameter: moment": text(lambda value: parameters.parse_moment(value, name="from")),
    "parameter: cursor": text(lambda value: parameters.parse_cursor(value, int, str)),
}


def feed(name: str, data: bytes) -> None:
    """Give *data* to a parser: it returns or raises an `Error`."""
    try:
        PARSERS[name](data)
    except Error:
        return


def exported_parsers() -> set[str]:
    """Every parser that the kernel offers."""
    return {
        name
        for module in KERNEL
        for name in module.__all__
        if name.startswith("parse_") and inspect.isfunction(getattr(module, name))
    }

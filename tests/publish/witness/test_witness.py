"""Our own witness over HTTP: each answer of tlog-witness, and what it never signs (log.md 5.8)."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import psycopg
import pytest

from tallystick.db.errors import AppendOnlyError
from tallystick.http.routes import witness as route
from tallystick.publish.errors import (
    InvalidWitnessError,
    NoWitnessKeyError,
    WitnessRollbackError,
)
from tallystick.publish.witness import create_witness_key, list_watched, origin_hash, watch_log
from tallystick.publish.witness import witness as witness_module
from tallystick.record import cosignature_verifier, ed25519_verifier
from tallystick.tlog import (
    EMPTY_ROOT,
    AddCheckpoint,
    Checkpoint,
    Note,
    Signature,
    TreeSize,
    check_cosignatures,
    check_note,
    format_add_checkpoint,
    format_checkpoint,
    format_note,
    format_verifier_key,
    parse_checkpoint,
    parse_note,
    parse_signature_lines,
    sign_note,
)
from tests.http.transcript import shown, transcript
from tests.support.sealed import ORIGIN, SealedLog, log_signer

if TYPE_CHECKING:
    from tests.http.conftest import Running

PATH = "/api/v1/witness/add-checkpoint"
VKEY = format_verifier_key(log_signer().verifier_key)
NAME = "witness.example/own"


def leaves(count: int, kind: str = "leaf") -> list[bytes]:
    """Return so many different leaves."""
    return [f"{kind} {number}".encode() for number in range(count)]


def request(log: SealedLog, old_size: int) -> bytes:
    """Return the honest request from *old_size* to the whole of *log*."""
    hashes = tuple(log.growth(old_size)) if old_size <= log.size else ()
    return format_add_checkpoint(AddCheckpoint(TreeSize(old_size), hashes, log.note()))


@pytest.fixture
def witness(server: Running) -> Running:
    """A server whose witness watches the log of `SealedLog`."""
    with server.builder.database.transaction() as tx:
        key = create_witness_key(tx, server.builder.keys, NAME)
        watch_log(tx, [VKEY], contact="somebody")
        # A second time it is the same.
        assert create_witness_key(tx, server.builder.keys, NAME) == key
    return server


def witness_vkey(witness: Running) -> str:
    """Return the key of the server's witness."""
    [(vkey,)] = witness.builder.execute("SELECT vkey FROM tally.log_keys WHERE purpose = 'witness'")
    return str(vkey)


def ask(witness: Running, body: bytes) -> httpx.Response:
    """Post one add-checkpoint."""
    return witness.anonymous.post(PATH, content=body)


def test_a_consistent_checkpoint_is_cosigned(witness: Running) -> None:
    """log 19: 200 carries a cosignature that verifies, and monitors get the note with both keys."""
    for old, new in ((0, 3), (3, 3), (3, 10)):
        log = SealedLog(leaves(new))
        answer = ask(witness, request(log, old))
        assert answer.status_code == 200, answer.text
        note = Note(log.note().text, parse_signature_lines(answer.content))
        [cosignature] = check_cosignatures(note, [cosignature_verifier(witness_vkey(witness))])
        assert (cosignature.name, cosignature.time_seconds > 0) == (NAME, True)
    assert transcript(answer) == shown("""
        POST /api/v1/witness/add-checkpoint
        200
        content-type: text/plain; charset=utf-8
        cache-control: no-store
    """)
    known = witness.anonymous.get(f"/api/v1/witness/{origin_hash(ORIGIN)}/checkpoint")
    assert transcript(known) == shown(f"""
        GET /api/v1/witness/{origin_hash(ORIGIN)}/checkpoint
        200
        content-type: text/plain; charset=utf-8
        cache-control: public, max-age=1
        access-control-allow-origin: *
    """)
    stored = parse_note(known.content)
    assert parse_checkpoint(stored.text).size == 10
    check_note(stored, [ed25519_verifier(VKEY)])
    assert check_cosignatures(stored, [cosignature_verifier(witness_vkey(witness))])


def test_another_size_is_told(witness: Running) -> None:
    """log 19: 409 tells the size that was cosigned last, alone in its line, as text/x.tlog.size."""
    assert ask(witness, request(SealedLog(leaves(3)), 0)).status_code == 200
    answer = ask(witness, request(SealedLog(leaves(9)), 5))
    assert (answer.status_code, answer.content) == (409, b"3\n")
    assert answer.headers["content-type"] == "text/x.tlog.size"
    assert ask(witness, request(SealedLog(leaves(9)), 0)).content == b"3\n"


def bare(size: int, root: bytes) -> Note:
    """Return a checkpoint that the log's key signed, over any root."""
    text = format_checkpoint(Checkpoint(ORIGIN, TreeSize(size), root))
    return sign_note(text, [log_signer()])


def test_inconsistent_checkpoints_are_422(witness: Running) -> None:
    """log 19: 422: a false or misplaced proof, two roots for a size, the empty tree's root."""
    three, nine, other = SealedLog(leaves(3)), SealedLog(leaves(9)), SealedLog(leaves(9, "fork"))
    wrong_empty = AddCheckpoint(TreeSize(0), (), bare(0, b"\x01" * 32))
    assert ask(witness, format_add_checkpoint(wrong_empty)).status_code == 422
    right_empty = AddCheckpoint(TreeSize(0), (), bare(0, EMPTY_ROOT))
    assert ask(witness, format_add_checkpoint(right_empty)).status_code == 200
    proof_from_nothing = AddCheckpoint(TreeSize(0), (EMPTY_ROOT,), three.note())
    assert ask(witness, format_add_checkpoint(proof_from_nothing)).status_code == 422
    assert ask(witness, request(three, 0)).status_code == 200
    bad = {
        "a proof of another tree": AddCheckpoint(TreeSize(3), tuple(other.growth(3)), other.note()),
        "no proof": AddCheckpoint(TreeSize(3), (), nine.note()),
        "a proof too long": AddCheckpoint(TreeSize(3), (*nine.growth(3), EMPTY_ROOT), nine.note()),
        "another root at the size": AddCheckpoint(TreeSize(3), (), bare(3, b"\x02" * 32)),
        "a proof between equals": AddCheckpoint(TreeSize(3), (EMPTY_ROOT,), three.note()),
    }
    for words, one in bad.items():
        answer = ask(witness, format_add_checkpoint(one))
        assert (answer.status_code, answer.json()["code"]) == (422, "inconsistent_checkpoint"), (
            words
        )
    assert ask(witness, request(nine, 3)).status_code == 200


def test_untrusted_and_unknown_are_403_and_404(witness: Running) -> None:
    """log 19: 403 without a trusted signature or with a false one, 404 for an unknown origin."""
    log = SealedLog(leaves(3))
    stranger = SealedLog(leaves(3), signers=[log_signer(secret=b"s" * 32)])
    assert ask(witness, request(stranger, 0)).status_code == 403
    [own] = log.note().signatures
    false = Signature(own.name, own.key_id, b"\x00" * 64)
    forged = AddCheckpoint(TreeSize(0), (), Note(log.note().text, (false,)))
    assert ask(witness, format_add_checkpoint(forged)).status_code == 403
    both = AddCheckpoint(TreeSize(0), (), Note(log.note().text, (own, false)))
    assert ask(witness, format_add_checkpoint(both)).status_code == 403
    unknown = SealedLog(
        leaves(3), origin="log.example/other", signers=[log_signer("log.example/other")]
    )
    assert ask(witness, request(unknown, 0)).status_code == 404
    with witness.builder.database.transaction() as tx:
        watch_log(tx, [VKEY], enabled=False)
    assert ask(witness, request(log, 0)).status_code == 404
    with witness.builder.database.transaction() as tx:
        watch_log(tx, [VKEY])
        [watched] = list_watched(tx)
    assert (watched.contact, watched.enabled, watched.size) == ("somebody", True, 0)
    # A signature of a key that nobody knows is passed over.
    mixed = Note(log.note().text, (*stranger.note().signatures, own))
    answer = ask(witness, format_add_checkpoint(AddCheckpoint(TreeSize(0), (), mixed)))
    assert answer.status_code == 200
    known = witness.anonymous.get(f"/api/v1/witness/{origin_hash(ORIGIN)}/checkpoint")
    assert parse_note(known.content).signatures[:-1] == (own,)


def test_malformed_requests_are_400(witness: Running) -> None:
    """log 19: 400 for what is no request, and for an old size beyond the checkpoint's."""
    three = SealedLog(leaves(3))
    good = request(three, 0)
    backwards = AddCheckpoint(TreeSize(4), (), three.note())
    bodies = [
        b"",
        b"\xff\xfe",
        good.replace(b"old 0", b"old 00"),
        good.replace(b"old 0", b"new 0"),
        good.replace(b"old 0\n", b"old 0\n" + b"A" * 43 + b"=\n" * 64),
        b"old 0\n\n" + format_note(three.note()).replace(b"\n3\n", b"\nthree\n"),
        format_add_checkpoint(backwards),
    ]
    assert [ask(witness, body).status_code for body in bodies] == [400] * len(bodies)
    assert ask(witness, b"old 0\n\n" + b"x" * 70_000).status_code == 413
    assert ask(witness, good).status_code == 200


def test_without_a_key_there_is_no_witness(server: Running) -> None:
    """A server without a witness key answers 404, and what nobody cosigned is 404."""
    with server.builder.database.transaction() as tx:
        with pytest.raises(NoWitnessKeyError):
            create_witness_key(tx, server.builder.keys, None)
        watch_log(tx, [VKEY])
    assert ask(server, request(SealedLog(leaves(1)), 0)).status_code == 404
    for name in (origin_hash(ORIGIN), "nothing", "A" * 64):
        answer = server.anonymous.get(f"/api/v1/witness/{name}/checkpoint")
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_origin")


def test_only_log_keys_of_one_name_are_watched(witness: Running) -> None:
    """A watched log has keys of type 1, all of its origin's name."""
    other = format_verifier_key(log_signer("log.example/other").verifier_key)
    with witness.builder.database.transaction() as tx:
        for vkeys in ([], ["nothing"], [VKEY, other], [witness_vkey(witness)]):
            with pytest.raises(InvalidWitnessError):
                watch_log(tx, vkeys)


def test_fifty_at_once_never_sign_a_fork(witness: Running) -> None:
    """log 19: Fifty requests at once never cosign two roots of a size, or sizes out of order."""
    trunk = leaves(4)
    branches = [
        {size: SealedLog(trunk + leaves(size - 4, kind)) for size in range(5, 15)}
        for kind in ("left", "right")
    ]
    assert ask(witness, request(SealedLog(trunk), 0)).status_code == 200
    done: list[tuple[int, int, bytes]] = []
    gate = threading.Barrier(50)

    def push(number: int) -> None:
        chance = random.Random(number)
        with httpx.Client(base_url=witness.url, timeout=30) as client:
            gate.wait()
            known = 4
            for _ in range(6):
                log = (
                    chance.choice(branches)[chance.randrange(max(5, known), 15)]
                    if known < 15
                    else None
                )
                assert log is not None
                answer = client.post(PATH, content=request(log, known))
                assert answer.status_code in {200, 409, 422}, answer.text
                if answer.status_code == 200:
                    done.append((known, log.size, parse_checkpoint(log.note().text).root))
                    known = log.size
                elif answer.status_code == 409:
                    known = int(answer.content)

    with ThreadPoolExecutor(50) as pool:
        for future in [pool.submit(push, number) for number in range(50)]:
            future.result()
    grown = sorted((old, new) for old, new, _ in set(done) if old != new)
    # Each growth began where the one before it had ended: there was one order of them.
    assert [old for old, _ in grown] == [4, *[new for _, new in grown[:-1]]]
    roots = {size: {root for _, new, root in done if new == size} for _, size, _ in done}
    assert {len(found) for found in roots.values()} == {1}


def test_the_database_keeps_the_memory(witness: Running) -> None:
    """What was cosigned goes neither back, nor away, nor to another root (TS106, TS002)."""
    assert ask(witness, request(SealedLog(leaves(3)), 0)).status_code == 200
    for change in (
        "tree_size = 2",
        "root_hash = sha256('x')",
        "note = NULL, root_hash = NULL, cosigned_at = NULL",
        "origin = 'another'",
    ):
        with pytest.raises(WitnessRollbackError), witness.builder.database.transaction() as tx:
            tx.connection.execute(f"UPDATE tally.witnessed_logs SET {change}")
    with pytest.raises(AppendOnlyError):
        witness.builder.execute("DELETE FROM tally.witnessed_logs")


def test_whoever_brings_nothing_new_is_cheap(
    witness: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checkpoints sent again, by anybody, take no lock and no signature, and write nothing."""
    three, nine = SealedLog(leaves(3)), SealedLog(leaves(9))
    fork = SealedLog(leaves(9, "fork"))
    assert ask(witness, request(three, 0)).status_code == 200
    first = ask(witness, request(nine, 3))
    with psycopg.connect(witness.builder.url) as holding:
        # Whoever would lock the row now waits until the statement is given up.
        holding.execute("SELECT FROM tally.witnessed_logs FOR UPDATE")
        again = ask(witness, request(nine, 9))
        assert (again.status_code, again.content) == (200, first.content)
        assert ask(witness, request(three, 0)).content == b"9\n"
        assert ask(witness, request(nine, 3)).content == b"9\n"
        forked = AddCheckpoint(TreeSize(9), (), fork.note())
        assert ask(witness, format_add_checkpoint(forked)).status_code == 422
    # A client that wants a newer time gets one, a little later.
    monkeypatch.setattr(witness_module, "REPEAT_SECONDS", 0)
    assert ask(witness, request(nine, 9)).status_code == 200


def test_a_signature_counts_once(witness: Running) -> None:
    """The same signature many times over is verified and kept once; so are two keys of a log."""
    second = log_signer(secret=b"2" * 32)
    with witness.builder.database.transaction() as tx:
        watch_log(tx, [VKEY, format_verifier_key(second.verifier_key)])
    log = SealedLog(leaves(3))
    [own] = log.note().signatures
    [other] = sign_note(log.note().text, [second]).signatures
    many = Note(log.note().text, (own, other) * 32)
    answer = ask(witness, format_add_checkpoint(AddCheckpoint(TreeSize(0), (), many)))
    assert answer.status_code == 200
    known = witness.anonymous.get(f"/api/v1/witness/{origin_hash(ORIGIN)}/checkpoint")
    assert parse_note(known.content).signatures[:-1] == (own, other)
    # Either key is enough.
    alone = Note(log.note().text, (other,))
    answer = ask(witness, format_add_checkpoint(AddCheckpoint(TreeSize(3), (), alone)))
    assert answer.status_code == 200


def test_only_so_many_are_worked_on_at_once(
    witness: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond what a server works on at once it is 503: a crowd does not keep readers waiting."""
    monkeypatch.setattr(route, "MAX_AT_ONCE", 0)
    answer = ask(witness, request(SealedLog(leaves(3)), 0))
    assert (answer.status_code, answer.json()["code"]) == (503, "witness_busy")
    assert not route.UNDER_WAY

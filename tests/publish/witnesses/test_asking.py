"""What we make of each answer of a witness (log.md, sections 5.7 and 5.8)."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from tallystick import metrics
from tallystick.publish.errors import (
    InvalidWitnessError,
    WitnessConflictError,
    WitnessExistsError,
    WitnessNotFoundError,
)
from tallystick.publish.witnesses import (
    add_witness,
    ask_witnesses,
    clear_witness,
    list_witnesses,
    remove_witness,
)
from tallystick.publish.witnesses import asking as asking_module
from tallystick.tlog import (
    Checkpoint,
    TreeSize,
    check_consistency,
    format_checkpoint,
    format_note,
    parse_checkpoint,
    sign_note,
)
from tests.publish.witnesses.scripted import ScriptedWitness, always, cosigning, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tallystick.publish import Publisher
    from tallystick.publish.witnesses import Witness
    from tests.support.log_builder import LogBuilder

NAME = "w.example/one"


@pytest.fixture
def witness() -> Iterator[ScriptedWitness]:
    """A witness that cosigns whatever it is shown, until a test has another script."""
    with serving(ScriptedWitness(NAME, cosigning)) as one:
        yield one


def attach(builder: LogBuilder, log: str, witness: ScriptedWitness) -> None:
    """Let *log* ask *witness*."""
    with builder.database.transaction() as tx:
        add_witness(tx, log, vkey=witness.vkey, url=witness.url, allow_private_http=True)


def state(builder: LogBuilder, log: str, name: str = NAME) -> Witness:
    """Return the row of a witness."""
    with builder.database.transaction(read_only=True) as tx:
        return next(one for one in list_witnesses(tx, log) if one.name == name)


def leaves(count: int, first: int = 0) -> list[bytes]:
    """Return so many different leaves."""
    return [b"leaf %d" % number for number in range(first, first + count)]


def grow(builder: LogBuilder, log: str, count: int) -> None:
    """Seal so many more leaves."""
    builder.append(log, leaves(count, 1000))
    builder.seal(log)


def ask(builder: LogBuilder, log: str = "payments") -> list[str]:
    """Ask once and return the kinds of the answers."""
    return [type(answer).__name__ for answer in ask_witnesses(builder.database, log)]


def test_a_cosignature_is_verified_and_stored(
    builder: LogBuilder, publisher: Publisher, witness: ScriptedWitness
) -> None:
    """200: the line is verified by the witness's key, stored, and served with the checkpoint."""
    before = metrics.WITNESS_SECONDS._sum.get()
    builder.filled("payments", leaves(5), witness_quorum=1)
    attach(builder, "payments", witness)
    assert ask(builder) == ["Cosigned"]
    publisher.refresh()
    head = publisher.published_head("payments")
    assert (head.size, head.witnesses) == (5, 1)
    row = state(builder, "payments")
    assert (row.last_size, row.last_error, row.last_seen_at is not None) == (5, None, True)
    assert witness.paths == ["/witness/add-checkpoint"]
    assert metrics.WITNESS_SECONDS._sum.get() > before
    events = builder.execute(
        "SELECT payload FROM tally.outbox_events WHERE topic = 'log.published'"
    )
    assert events == [({"log": "payments", "size": 5},)]


def test_the_proof_begins_where_the_witness_stands(
    builder: LogBuilder, witness: ScriptedWitness
) -> None:
    """The old size is the one that was cosigned last; a 409 is asked again from the size told."""
    builder.filled("payments", leaves(300))
    attach(builder, "payments", witness)
    ask(builder)
    grow(builder, "payments", 700)
    ask(builder)
    first, second = witness.asked
    assert (first.old_size, first.hashes, second.old_size) == (0, (), 300)
    grow(builder, "payments", 24)
    witness.script = lambda w, r: w.cosign(r) if r.old_size == 300 else (409, b"300\n")
    assert ask(builder) == ["Cosigned"]
    assert [request.old_size for request in witness.asked[2:]] == [1000, 300]
    for new, old in ((second, first), (witness.asked[-1], first)):
        old_root, new_root = (parse_checkpoint(one.note.text) for one in (old, new))
        check_consistency(
            new.hashes,
            old_size=TreeSize(300),
            new_size=new_root.size,
            old_root=old_root.root,
            new_root=new_root.root,
        )


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (400, b"", "it answers 400 Bad Request"),
        (403, b"secret words", "it answers 403 Forbidden"),
        (404, b"", "it answers 404 Not Found"),
        (500, b"", "it answers 500 Internal Server Error"),
        (302, b"", "it answers 302 Found"),
        (299, b"", "it answers 299"),
        (409, b"many\n", "it answers 409 Conflict"),
        (409, b"0\n", "it answers 409 Conflict"),
        (200, b"", "its cosignature is refused: "),
        (200, b"x" * 70_000, "it cannot be reached: DecodingError"),
    ],
)
def test_other_answers_are_an_error_and_no_more(
    builder: LogBuilder, witness: ScriptedWitness, status: int, body: bytes, message: str
) -> None:
    """What is no cosignature is told as last_error in our words; no redirect is followed."""
    builder.filled("payments", leaves(5))
    attach(builder, "payments", witness)
    witness.script = always(status, body)
    assert ask(builder) == ["Declined"]
    row = state(builder, "payments")
    assert (row.status, row.last_size) == ("active", None)
    assert (row.last_error or "").startswith(message)
    assert set(witness.paths) == {"/witness/add-checkpoint"}


def test_false_cosignatures_are_refused(builder: LogBuilder, witness: ScriptedWitness) -> None:
    """A line of another key, over another checkpoint, or without a time is not stored."""
    builder.filled("payments", leaves(5))
    attach(builder, "payments", witness)
    other = ScriptedWitness("w.example/other", cosigning)
    text = format_checkpoint(Checkpoint("log.example/payments", TreeSize(5), b"\x01" * 32))
    for script in (
        lambda _w, r: other.cosign(r),
        lambda w, r: w.cosign(type(r)(r.old_size, r.hashes, type(r.note)(text, ()))),
    ):
        witness.script = script
        assert ask(builder) == ["Declined"]
    assert builder.execute("SELECT count(*) FROM tally.cosignatures") == [(0,)]
    # Lines of others beside its own are passed over, and the newest of its own counts.
    witness.script = lambda w, r: (
        200,
        other.cosign(r)[1] + w.cosign(r, at=5)[1] + w.cosign(r, at=7)[1] + w.cosign(r, at=6)[1],
    )
    assert ask(builder) == ["Cosigned"]
    assert builder.execute("SELECT signed_at_seconds FROM tally.cosignatures") == [(7,)]


def test_a_hanging_witness_holds_up_nobody(
    builder: LogBuilder, witness: ScriptedWitness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that never ends its answer is given up; the others' cosignatures are there before."""
    monkeypatch.setattr(asking_module, "TIMEOUT_SECONDS", 1.0)
    builder.filled("payments", leaves(5))
    released = threading.Event()

    def hang(_witness: object, _request: object) -> tuple[int, bytes]:
        released.wait(20)
        return 500, b""

    with serving(ScriptedWitness("w.example/slow", hang)) as slow:
        attach(builder, "payments", witness)
        attach(builder, "payments", slow)
        assert ask(builder) == ["Cosigned", "Declined"]
        released.set()
    row = state(builder, "payments", "w.example/slow")
    assert (row.last_error, row.last_seen_at) == (asking_module.NO_ANSWER, None)
    monkeypatch.undo()
    # Nobody is there any more.
    assert ask(builder) == ["Declined"]
    assert state(builder, "payments", "w.example/slow").last_error == (
        "it cannot be reached: ConnectError"
    )


def test_an_unchanged_checkpoint_is_offered_each_hour(
    builder: LogBuilder, witness: ScriptedWitness
) -> None:
    """A checkpoint that was cosigned is offered again after an hour, and not before."""
    builder.filled("payments", leaves(5))
    attach(builder, "payments", witness)
    assert ask(builder) == ["Cosigned"]
    assert ask(builder) == []
    builder.execute("SELECT tally.set_test_clock(now() + interval '61 minutes', true)")
    witness.script = lambda w, r: w.cosign(r, at=1767326800)
    assert ask(builder) == ["Cosigned"]
    assert ask(builder) == []
    assert [request.old_size for request in witness.asked] == [0, 5]
    assert builder.execute("SELECT count(*) FROM tally.cosignatures") == [(2,)]


def conflict_of(builder: LogBuilder) -> dict[str, object]:
    """Return what is kept of the one conflict."""
    [(conflict,)] = builder.execute(
        "SELECT conflict FROM tally.witnesses WHERE name = 'w.example/one'"
    )
    assert isinstance(conflict, dict)
    return conflict


@pytest.mark.parametrize(("status", "body", "told"), [(409, b"9\n", 9), (422, b"", None)])
def test_a_conflict_freezes_publishing(
    builder: LogBuilder,
    publisher: Publisher,
    witness: ScriptedWitness,
    status: int,
    body: bytes,
    told: int | None,
) -> None:
    """A larger size or 422 is a conflict: an event, and nothing more is published until cleared."""
    builder.filled("payments", leaves(5))
    attach(builder, "payments", witness)
    publisher.refresh()
    witness.script = always(status, body)
    assert ask(builder) == ["Contradicted"]
    conflict = conflict_of(builder)
    assert (conflict["told"], conflict["proven"], conflict["published_size"]) == (told, False, 5)
    assert state(builder, "payments").status == "conflict"
    [(payload,)] = builder.execute(
        "SELECT payload FROM tally.outbox_events WHERE topic = 'witness.conflict'"
    )
    assert (payload["log"], payload["witness"]) == ("payments", NAME)
    grow(builder, "payments", 3)
    publisher.refresh()
    assert publisher.published_head("payments").size == 5
    # It is not asked again, and looking away does not end it.
    assert ask(builder) == []
    with builder.database.transaction() as tx:
        remove_witness(tx, "payments", NAME)
        with pytest.raises(WitnessConflictError):
            clear_witness(tx, "payments", NAME, actor="system:test", reason="none")
    publisher.refresh()
    assert publisher.published_head("payments").size == 5
    [(log_status,)] = builder.execute("SELECT status::text FROM tally.verification_logs")
    assert log_status == "active"
    builder.execute(
        "INSERT INTO tally.audits (log_id, kind, snapshot, tree_size, root_hash, started_at,"
        " finished_at, counts, verdict) SELECT log_id, 'audit', 's', 8, sha256(''),"
        " clock_timestamp(), clock_timestamp(), '{}', 'clean' FROM tally.verification_logs"
    )
    with builder.database.transaction() as tx:
        cleared = clear_witness(tx, "payments", NAME, actor="system:test", reason="audited")
    assert (cleared.status, cleared.last_size) == ("active", None)
    publisher.refresh()
    assert publisher.published_head("payments").size == 8
    topics = builder.execute(
        "SELECT topic FROM tally.outbox_events WHERE topic LIKE 'witness.%' ORDER BY 1"
    )
    assert topics == [("witness.cleared",), ("witness.conflict",)]


@pytest.mark.parametrize("size", [9, 4])
def test_a_proven_fork_fails_the_log(
    builder: LogBuilder, witness: ScriptedWitness, size: int
) -> None:
    """A witness that shows a checkpoint which our key signed and our tree has not fails the log."""
    builder.filled("payments", leaves(5))
    attach(builder, "payments", witness)
    [(key_id,)] = builder.execute("SELECT key_id FROM tally.log_keys WHERE purpose = 'log'")
    text = format_checkpoint(Checkpoint("log.example/payments", TreeSize(size), b"\x07" * 32))
    witness.shown = 200, format_note(sign_note(text, [builder.keys.signer(bytes(key_id))]))
    witness.script = always(409, b"9\n") if size == 9 else always(422)
    assert ask(builder) == ["Contradicted"]
    assert conflict_of(builder)["proven"] is True
    [(status, failure)] = builder.execute(
        "SELECT status::text, failure FROM tally.verification_logs WHERE log_name = 'payments'"
    )
    assert (status, failure["code"]) == ("failed", "rollback")
    assert failure["expected"] == witness.shown[1].decode()
    assert builder.sequencer.seal_once(builder.logs["payments"].log_id) is None


def test_what_the_witness_shows_must_be_ours(builder: LogBuilder, witness: ScriptedWitness) -> None:
    """A checkpoint that our key did not sign, or that is of our tree, proves nothing."""
    builder.filled("payments", leaves(5))
    attach(builder, "payments", witness)
    [(note,)] = builder.execute("SELECT note FROM tally.checkpoints WHERE tree_size = 5")
    witness.shown = 200, str(note).encode()
    witness.script = always(422)
    assert ask(builder) == ["Contradicted"]
    assert (conflict_of(builder)["proven"], conflict_of(builder)["known"]) == (False, note)
    assert builder.execute("SELECT status::text FROM tally.verification_logs") == [("active",)]


def test_our_own_later_head_is_no_conflict(builder: LogBuilder, witness: ScriptedWitness) -> None:
    """A size beyond the offer that the log has meanwhile is just a later checkpoint of ours."""
    builder.filled("payments", leaves(5))
    attach(builder, "payments", witness)

    def later(_witness: object, _request: object) -> tuple[int, bytes]:
        grow(builder, "payments", 4)
        return 409, b"9\n"

    witness.script = later
    assert ask(builder) == ["Overtaken"]
    assert state(builder, "payments").status == "active"


def test_one_key_is_one_witness(builder: LogBuilder, witness: ScriptedWitness) -> None:
    """A name or key is added once; the same witness again takes its new URL, also when removed."""
    builder.filled("payments", leaves(5))
    attach(builder, "payments", witness)
    twin = ScriptedWitness(NAME, cosigning)
    twin_vkey = twin.vkey
    with builder.database.transaction() as tx:
        moved = add_witness(tx, "payments", vkey=twin_vkey, url="https://w.example/two/")
        assert moved.url == "https://w.example/two"
        with pytest.raises(WitnessNotFoundError):
            remove_witness(tx, "payments", "w.example/none")
    attach(builder, "payments", witness)
    other = ScriptedWitness("w.example/one", cosigning)
    forged = ScriptedWitness("w.example/x", cosigning).vkey
    assert other.vkey == witness.vkey
    with builder.database.transaction() as tx:
        add_witness(tx, "payments", vkey=forged, url="https://w.example")
        remove_witness(tx, "payments", "w.example/x")
        assert [one.name for one in list_witnesses(tx, "payments")] == [NAME]
    ask(builder)
    with builder.database.transaction() as tx:
        remove_witness(tx, "payments", NAME)
        [kept] = list_witnesses(tx, "payments")
    assert (kept.enabled, kept.last_size) == (False, 5)
    grow(builder, "payments", 1)
    assert ask(builder) == []
    attach(builder, "payments", witness)
    assert ask(builder) == ["Cosigned"]


def test_a_second_key_under_a_name_is_refused(builder: LogBuilder) -> None:
    """Another key under the name of a witness is another witness, and is refused."""
    from tallystick.record import make_signer
    from tallystick.tlog import ALGORITHM_COSIGNATURE, format_verifier_key

    builder.create("payments")
    vkeys = [
        format_verifier_key(
            make_signer(name=NAME, secret=secret * 32, algorithm=ALGORITHM_COSIGNATURE).verifier_key
        )
        for secret in (b"a", b"b")
    ]
    with builder.database.transaction() as tx:
        add_witness(tx, "payments", vkey=vkeys[0], url="https://w.example")
        with pytest.raises(WitnessExistsError):
            add_witness(tx, "payments", vkey=vkeys[1], url="https://w.example")


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://w.example/prefix/", True),
        ("http://127.0.0.1:7421/api/v1/witness", True),
        ("http://localhost", True),
        ("http://10.1.2.3", True),
        ("http://[::1]:80", True),
        ("http://w.example", False),
        ("http://8.8.8.8", False),
        ("http://0.0.0.0", False),
        ("ftp://w.example", False),
        ("https://", False),
        ("https://user@w.example", False),
        ("https://w.example?x=1", False),
        ("https://w.example#x", False),
        ("https://w.example:port", False),
        ("https://w.example/\n", False),
        ("https://" + "w" * 600, False),
    ],
)
def test_plain_http_is_for_next_door(builder: LogBuilder, url: str, *, allowed: bool) -> None:
    """Https anywhere; plain http to loopback and private addresses, if that is said in words."""
    builder.create("payments")
    vkey = ScriptedWitness(NAME, cosigning).vkey
    with builder.database.transaction() as tx:
        if allowed:
            add_witness(tx, "payments", vkey=vkey, url=url, allow_private_http=True)
        else:
            with pytest.raises(InvalidWitnessError):
                add_witness(tx, "payments", vkey=vkey, url=url, allow_private_http=True)
        if url.startswith("http:"):
            with pytest.raises(InvalidWitnessError):
                add_witness(tx, "payments", vkey=vkey, url=url)


def test_connections_are_kept(builder: LogBuilder, witness: ScriptedWitness) -> None:
    """One asker asks a witness over one connection, as long as the witness keeps it."""
    import asyncio

    from tallystick.publish.witnesses.asker import Asker

    builder.filled("payments", leaves(5))
    attach(builder, "payments", witness)

    async def several() -> None:
        asker = Asker(builder.database)
        for _ in range(3):
            await asker.ask_once("payments")
            await asyncio.to_thread(grow, builder, "payments", 1)
        await asker.close()

    asyncio.run(several())
    assert (len(witness.asked), len(witness.connections)) == (3, 1)

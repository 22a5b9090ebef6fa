"""Keys of requests in the database: what waits, what vanishes, and who may read answers."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import psycopg
import pytest

from tallystick.db import connect
from tallystick.db.errors import DatabaseUnavailableError
from tallystick.identity import UserRepository
from tallystick.identity.errors import IdempotencyConflictError, InvalidValueError
from tallystick.identity.idempotency import (
    Claim,
    StoredAnswer,
    claim_request,
    erase_answers,
    forget_requests,
    keep_answer,
    stored_answer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tallystick.db import Database

CLAIM = Claim("key:operator", "k", bytes(32))


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A database of its own."""
    with connect(database_url, pool_size=4) as opened:
        yield opened


def test_an_answer_is_kept_with_the_write(database: Database) -> None:
    """identity 19: Taken, answered, and answered again; another digest is TSI17."""
    with database.transaction() as tx:
        assert claim_request(tx, CLAIM) is None
        keep_answer(tx, CLAIM, status=201, body={"id": "a", "secret": "s"}, secrets=("secret",))
    kept = StoredAnswer(201, {"id": "a", "secret": None})
    with database.transaction() as tx:
        assert stored_answer(tx, CLAIM) == kept
        assert claim_request(tx, CLAIM) == kept
        other = Claim(CLAIM.principal, CLAIM.key, bytes([1] * 32))
        for ask in (stored_answer, claim_request):
            with pytest.raises(IdempotencyConflictError), tx.savepoint():
                ask(tx, other)


def test_a_session_that_ends_leaves_neither_effect_nor_key(database: Database) -> None:
    """identity 19: A server that dies within a write leaves the key free, and nothing done."""
    with (
        pytest.raises(DatabaseUnavailableError),
        database.transaction() as tx,
    ):
        claim_request(tx, CLAIM)
        UserRepository(tx).create(username="ann")
        with database.session() as other:
            pid = tx.connection.info.backend_pid
            other.execute("SELECT pg_terminate_backend(%s)", (pid,))
        keep_answer(tx, CLAIM, status=201, body={})
    with database.transaction() as tx:
        assert claim_request(tx, CLAIM) is None
        UserRepository(tx).create(username="ann")
        keep_answer(tx, CLAIM, status=201, body={})


def test_the_second_of_two_waits_for_the_first(database: Database) -> None:
    """identity 19: While the first has not committed the second has no answer; then it has."""
    answers: list[StoredAnswer | None] = []

    def second() -> None:
        with database.transaction() as tx:
            answers.append(claim_request(tx, CLAIM))

    with database.transaction() as tx:
        claim_request(tx, CLAIM)
        waiting = threading.Thread(target=second)
        waiting.start()
        with database.session() as other:
            is_waiting = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"
            while other.execute(is_waiting).fetchone() != (True,):
                pass
        assert answers == []
        keep_answer(tx, CLAIM, status=200, body={"n": 1})
    waiting.join(30)
    assert answers == [StoredAnswer(200, {"n": 1})]


def test_a_long_answer_undoes_its_write(database: Database) -> None:
    """An answer beyond 64 KiB cannot be kept: the write is refused by name and undone."""
    with pytest.raises(InvalidValueError), database.transaction() as tx:
        claim_request(tx, CLAIM)
        keep_answer(tx, CLAIM, status=200, body={"long": "x" * 65_536})
    with database.transaction() as tx:
        assert stored_answer(tx, CLAIM) is None


def test_answers_are_read_through_functions_alone(database: Database) -> None:
    """identity 14: No role reads the table; the server's own may call its functions."""
    for role in ("tally_app", "tally_auditor", "tally_reader"):
        with (
            pytest.raises(psycopg.errors.InsufficientPrivilege),
            psycopg.connect(database.url) as connection,
        ):
            connection.execute(f"SET ROLE {role}".encode())
            connection.execute("SELECT body FROM tally.idempotency_keys")
    with database.transaction() as tx:
        tx.connection.execute("SET LOCAL ROLE tally_app")
        assert claim_request(tx, CLAIM) is None
        keep_answer(tx, CLAIM, status=200, body={})
        assert stored_answer(tx, CLAIM) == StoredAnswer(200, {})
        assert erase_answers(tx, "nobody") == 0
        assert forget_requests(tx) == 0
        assert tx.connection.execute("SELECT * FROM tally.user_leaves_v1('x')").fetchall() == []

"""
How every route writes: one transaction, which is also that of its Idempotency-Key.

A handler gives `Writing.run` what it does in the transaction and returns what that answers. With
a key the transaction begins with the key's row and ends with the answer in it, so that the same
request sent again, in sequence or at once, has one effect and one answer (identity.md, section 2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, TypeVar

import msgspec
from litestar import Response

from tallystick.db import Database, Transaction
from tallystick.db.errors import DatabaseUnavailableError
from tallystick.errors import Error
from tallystick.http.problems import MEDIA_TYPE, problem_of
from tallystick.http.reading import POSITION
from tallystick.identity.idempotency import (
    Claim,
    StoredAnswer,
    claim_request,
    keep_answer,
    stored_answer,
)

Answered = TypeVar("Answered")

IDEMPOTENCY_KEY: Final = "idempotency-key"
REPLAYED: Final = {"Idempotency-Replayed": "true"}
JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Writing:
    """The transaction of one request, under the key of *claim* if it came with one."""

    database: Database
    claim: Claim | None

    def run(
        self,
        work: Callable[[Transaction], Answered | Error],
        *,
        status: int = HTTPStatus.OK,
        secrets: Sequence[str] = (),
    ) -> Response[Answered]:
        """
        Return what *work* answers, once its transaction has committed; or, where the same
        request came before under the same key, what it was answered, without *work*.

        *secrets* are members of the answer that a replay has as null. What *work* raises undoes
        everything, the key's row too, so that the request can be sent again; an error that it
        returns is an answer: what was counted until then is committed.

        Raises:
            IdempotencyConflictError: The key came before with another request.
            InvalidValueError: The key is not of the form of one.
        """
        with self.database.transaction() as tx:
            stored = None if self.claim is None else claim_request(tx, self.claim)
            if stored is not None:
                return replay(stored, self._position())
            answer = work(tx)
            if isinstance(answer, Error):
                problem = problem_of(answer)
                status, body = problem.status, problem.members
            elif self.claim is not None:
                body = msgspec.to_builtins(answer)
            if self.claim is not None:
                keep_answer(tx, self.claim, status=status, body=body, secrets=secrets)
        if isinstance(answer, Error):
            raise answer
        return Response(answer, status_code=status, headers=self._position())

    def replayed(self) -> Response[Any] | None:
        """
        Return the answer that this request got before, None where it comes first.

        For a handler that does something ahead of its transaction; `run` looks again.

        Raises:
            IdempotencyConflictError, InvalidValueError: As `run`.
        """
        claim = self.claim
        if claim is None:
            return None
        stored = self.database.read(lambda tx: stored_answer(tx, claim))
        return None if stored is None else replay(stored, self._position())

    def _position(self) -> dict[str, str]:
        """Return the header with which a later read on a replica sees this write."""
        try:
            position = self.database.written_position()
        except DatabaseUnavailableError:
            # What was written is written: its answer must not say otherwise.
            return {}
        return {} if position is None else {POSITION: position}


def replay(stored: StoredAnswer, position: Mapping[str, str]) -> Response[Any]:
    """
    Return an answer as it was given, but for its secrets, and say that it is one.

    *position* is of now, which is behind the write that was answered.
    """
    is_problem = stored.status >= HTTPStatus.BAD_REQUEST
    return Response(
        msgspec.json.encode(stored.body),
        status_code=stored.status,
        media_type=MEDIA_TYPE if is_problem else JSON,
        headers={**REPLAYED, **position, "Cache-Control": "no-store"},
    )

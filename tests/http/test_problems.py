"""Problem documents: one for every error, and nothing of what was asked in any."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

import pytest

import tallystick
from tallystick.chain.errors import FinalityViolationError
from tallystick.db.errors import AppendOnlyError, DatabaseRuleError, DatabaseUnavailableError
from tallystick.errors import Error, Kind, all_errors
from tallystick.http.errors import MethodNotAllowedError, UnauthenticatedError
from tallystick.http.problems import STATUS_OF_KIND, problem_of, status_of
from tallystick.publish.errors import (
    LeafNotFoundError,
    PrunedError,
    RedactedError,
    RootNotFoundError,
    SizeTooLargeError,
    WitnessRollbackError,
)
from tallystick.seal.errors import (
    EdgeMismatchError,
    InvalidRequestError,
    LogBusyError,
    LogExistsError,
    LogFailedError,
    LogFrozenError,
    LogNotFoundError,
    NoKeyError,
    RollbackError,
    SourceRefusesChangeError,
)
from tallystick.tlog import InclusionError, MalformedProofError

if TYPE_CHECKING:
    from tests.http.conftest import Running


def every_error() -> list[type[Error]]:
    """Every Error subclass of the whole package."""
    for module in pkgutil.walk_packages(tallystick.__path__, "tallystick."):
        if module.name.endswith(".errors"):
            importlib.import_module(module.name)
    return [error for error in all_errors() if error.__module__.startswith("tallystick.")]


@pytest.mark.parametrize("error", every_error(), ids=lambda error: error.__name__)
def test_every_error_is_a_problem(error: type[Error]) -> None:
    """log 32: Every Error has a status, a code, a type, and a sentence."""
    raised = error.__new__(error)
    Exception.__init__(raised, "what went wrong")
    if isinstance(raised, DatabaseRuleError):
        raised.evidence = {}
    problem = problem_of(raised)
    assert 400 <= problem.status < 600
    assert problem.members["status"] == problem.status
    assert problem.members["type"] == f"/problems/{error.slice()}/{error.code()}"
    assert problem.members["code"] == problem.members["error_type"] == error.code()
    assert problem.members["detail"] == "what went wrong"
    assert problem.members["title"].endswith((".", ":", "?"))
    assert problem.headers["Cache-Control"] == "no-store"


def test_no_two_errors_share_a_type() -> None:
    """log 32: A problem's type names one error."""
    types = [error.problem_type() for error in every_error()]
    assert len(types) == len(set(types))


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (AppendOnlyError, 409),
        (SourceRefusesChangeError, 409),
        (NoKeyError, 422),
        (WitnessRollbackError, 409),
        (LogFrozenError, 409),
        (LogFailedError, 409),
        (LogExistsError, 409),
        (LogNotFoundError, 404),
        (LeafNotFoundError, 404),
        (RootNotFoundError, 404),
        (SizeTooLargeError, 422),
        (PrunedError, 410),
        (RedactedError, 410),
        (LogBusyError, 503),
        (EdgeMismatchError, 503),
        (RollbackError, 503),
        (DatabaseUnavailableError, 503),
        (MalformedProofError, 400),
        (InclusionError, 400),
        (InvalidRequestError, 400),
        (UnauthenticatedError, 401),
        (MethodNotAllowedError, 405),
        (FinalityViolationError, 500),
    ],
)
def test_statuses_are_those_of_the_specification(error: type[Error], status: int) -> None:
    """log 22: The tables of log.md, 3.3, and chain.md, 4.6, are what the server answers."""
    assert status_of(error) == status


def test_every_kind_has_a_status() -> None:
    """log 32: No kind of error is without a status."""
    assert set(STATUS_OF_KIND) == set(Kind)


def test_evidence_stays_inside() -> None:
    """Law 16: A problem says what the error's words say, not its evidence."""
    error = DatabaseRuleError("refused", evidence={"row": "secret"})
    assert b"secret" not in problem_of(error).body()


def test_every_problem_has_its_page(server: Running) -> None:
    """log 22: Each problem's type is the address of a page, and of its JSON twin."""
    for error in every_error():
        page = server.anonymous.get(error.problem_type())
        assert page.status_code == 200
        assert error.code() in page.text
        twin = server.anonymous.get(
            error.problem_type(), headers={"Accept": "application/json"}
        ).json()
        assert (twin["code"], twin["status"]) == (error.code(), int(status_of(error)))
    absent = server.anonymous.get("/problems/seal/nothing")
    assert absent.status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "route_not_found"),
        ("GET", "/logs/a/nothing", 404, "route_not_found"),
        ("DELETE", "/logs", 405, "method_not_allowed"),
        ("GET", "/logs/a%00b/size", 400, "invalid_request"),
        ("GET", "/logs/%ff/size", 404, "log_not_found"),
        ("GET", "/logs?limit=many", 400, "invalid_request"),
        ("GET", "/logs?after=%20", 400, "invalid_request"),
    ],
)
def test_malformed_requests_end_in_a_named_error(
    server: Running, method: str, path: str, status: int, code: str
) -> None:
    """Law 13: Whatever is sent, the answer is a problem with a name."""
    response = server.operator.request(method, path)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"log_name": "\\u0000"}', b'{"log_name": 5}', b"\xff", b"[" * 5000]
)
def test_malformed_bodies_end_in_a_named_error(server: Running, body: bytes) -> None:
    """Law 13: A body that is not what it should be is an invalid request."""
    response = server.operator.post(
        "/logs", content=body, headers={"Content-Type": "application/json"}
    )
    assert (
        response.status_code,
        response.json()["error_type"] in {"invalid_request", "invalid_log"},
    ) == (
        400,
        True,
    )


def test_a_body_has_a_bound(server: Running) -> None:
    """log 22: A body over its bound is 413."""
    response = server.operator.post("/logs", content=b" " * 1_100_000)
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")


def test_request_ids_are_returned(server: Running) -> None:
    """Each answer carries a request id: the caller's if it is fit to be logged, else ours."""
    given = server.anonymous.get("/logs", headers={"X-Request-Id": "abc-12345"})
    assert given.headers["x-request-id"] == "abc-12345"
    for unfit in ("short", "with space in it", "x" * 65):
        answer = server.anonymous.get("/logs", headers={"X-Request-Id": unfit})
        assert answer.headers["x-request-id"] != unfit
        assert len(answer.headers["x-request-id"]) == 16

"""Requests that a machine makes up from our own OpenAPI: whatever comes, no answer is a 5xx."""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any

import hypothesis
import pytest
from hypothesis import HealthCheck
from hypothesis import strategies as st

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    schemathesis = pytest.importorskip("schemathesis", reason="install the group `dev`")

from tests.http.conftest import TOKEN, Running

# The server's pool draws random numbers too, in threads of this process, at any time.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Do not use the `random` module:hypothesis.errors.HypothesisDeprecationWarning"
)
EXAMPLES = 12
"""Made-up requests for each route and principal; thousands of them under `--all`."""
MANY_EXAMPLES = 150
UNAVAILABLE = 503
"""A server may say that it is not able just now; with the reason, and where to read on."""
ENDLESS = {"/api/v1/events"}
"""A stream of events ends when the reader goes; its parameters have tests of their own."""
STOPPING = {"/admin/stop", "/admin/pause"}
"""What ends the sealing of the rest of the run."""


def fuzz(server: Running, headers: dict[str, str], examples: int) -> Counter[int]:
    """Call every route of the OpenAPI document with made-up requests; count the answers."""
    server.builder.filled("payments", [b"one", b"two", b"three"], visibility="public")
    server.services.publisher.refresh()
    schema = schemathesis.openapi.from_dict(server.operator.get("/openapi.json").json())
    schema.config.update(base_url=server.url)
    answered: Counter[int] = Counter()
    failures: list[str] = []

    def check(case: Any, *, meets_the_log: bool) -> None:
        if meets_the_log and "log" in (case.path_parameters or {}):
            case.path_parameters["log"] = "payments"
        answer = case.call(headers=headers, timeout=30)
        answered[answer.status_code] += 1
        if answer.status_code >= 500 and answer.status_code != UNAVAILABLE:
            failures.append(f"{case.method} {case.formatted_path} {case.query} {case.body!r}")
        if answer.status_code == UNAVAILABLE:
            problem = answer.json()
            if "type" not in problem and "status" not in problem:
                failures.append(f"{case.method} {case.formatted_path}: 503 without a reason")

    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path in ENDLESS | STOPPING:
            continue
        run = hypothesis.settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )(hypothesis.given(case=operation.as_strategy(), meets_the_log=st.booleans())(check))
        run()
    assert failures == []
    return answered


def test_made_up_requests_of_anybody_never_break_the_server(server):
    """log 22: without a key every made-up request gets an answer below 500."""
    answered = fuzz(server, {}, EXAMPLES)
    assert sum(answered.values()) > 100
    assert {401, 404} & set(answered)


def test_made_up_requests_of_the_operator_never_break_the_server(server):
    """log 22: with the operator's key too, whose requests reach the operations."""
    answered = fuzz(server, {"Authorization": f"Bearer {TOKEN}"}, EXAMPLES)
    assert {200, 400} <= set(answered)


@pytest.mark.slow
@pytest.mark.parametrize("token", [None, TOKEN])
def test_thousands_of_made_up_requests_never_break_the_server(server, token):
    """log 22: nor do thousands, for each route and either principal."""
    fuzz(server, {"Authorization": f"Bearer {token}"} if token else {}, MANY_EXAMPLES)

"""Audit, reconcile, their jobs, and the switch of a source, over a real server."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from tallystick.http.routes import audits
from tallystick.seal.audit import AuditStartError, Finding
from tallystick.seal.audit import audit_log as real_audit

if TYPE_CHECKING:
    from tests.http.conftest import Running


@pytest.fixture
def shop(server: Running) -> Running:
    """A server with the log `shop`, into which the table `item` with two rows is sealed."""
    server.builder.create("shop", control_leaves=True)
    server.services.publisher.refresh()
    server.builder.execute("CREATE TABLE public.item (id integer PRIMARY KEY, name text)")
    added = server.operator.post("/logs/shop/sources", json={"source_table": "item"})
    assert added.status_code == 201
    server.builder.execute("INSERT INTO public.item VALUES (1, 'a'), (2, 'b')")
    server.seal("shop")
    return server


def change_behind(server: Running) -> None:
    """Change a row while its triggers do not fire."""
    server.builder.execute("ALTER TABLE public.item DISABLE TRIGGER USER")
    server.builder.execute("UPDATE public.item SET name = 'forged' WHERE id = 1")
    enable = "ALTER TABLE public.item ENABLE ALWAYS TRIGGER "
    for (name,) in server.builder.execute(
        "SELECT tgname FROM pg_trigger WHERE tgrelid = 'public.item'::regclass AND NOT tgisinternal"
    ):
        server.builder.execute(f"{enable}{name}")


def post(server: Running, path: str, status: int = 200, **fields: Any) -> dict[str, Any]:
    """The answer to the operator's POST."""
    answer = server.operator.post(f"/logs/shop/{path}", json=fields)
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_an_audit_answers_with_its_report(shop: Running) -> None:
    """log 22: POST audit finds nothing in an untouched log, with and without a body."""
    whole = shop.operator.post("/logs/shop/audit").json()
    assert (whole["status"], whole["log_name"], whole["is_clean"]) == ("ok", "shop", True)
    assert (whole["rows"], whole["findings"], whole["finding_count"]) == (2, [], 0)
    growth = post(shop, "audit", since=whole["tree_size"])
    assert (growth["tree_size"], growth["leaves"]) == (whole["tree_size"], 0)


def test_an_audit_that_cannot_begin_is_a_problem(shop: Running) -> None:
    """log 22: An unknown log, a size without a checkpoint and a wrong body are problems."""
    assert post(shop, "audit", 404, since=999)["code"] == "audit_start"
    assert shop.operator.post("/logs/none/audit").json()["code"] == "log_not_found"
    for fields in ({"since": -1}, {"since": "x"}, {"sinc": 1}):
        assert post(shop, "audit", 400, **fields)["code"] == "invalid_request"
    assert post(shop, "reconcile", 404, source_table="none")["code"] == "source_not_found"
    assert post(shop, "reconcile", 400)["code"] == "invalid_request"


def test_what_is_found_is_queued_on_request(shop: Running) -> None:
    """log 22: Audit and reconcile name a changed row; once repaired and sealed, all is clean."""
    change_behind(shop)
    audited = post(shop, "audit")
    assert not audited["is_clean"]
    [found] = audited["findings"]
    named = (found["kind"], found["source_table"], found["source_key"], found["columns"])
    assert named == ("row_changed", "item", '["1"]', ["name"])
    compared = post(shop, "reconcile", source_table="item")
    assert (compared["finding_count"], compared["queued"]) == (1, 0)
    repaired = post(shop, "reconcile", source_table="item", repair=True)
    assert (repaired["queued"], repaired["state"], repaired["problems"]) == (1, "active", [])
    shop.seal("shop")
    assert post(shop, "audit")["is_clean"]
    listed = shop.operator.get("/logs/shop/findings").json()["items"]
    assert {item["audit"] for item in listed} == {"audit", "reconcile"}


def test_a_report_shows_a_bounded_number_of_findings() -> None:
    """A report holds the first thousand findings, whatever was found."""
    assert len(audits.first_findings([Finding("leaf_changed")] * 1_001)) == 1_000


def test_a_long_audit_becomes_a_job(shop: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """log 22: What takes longer is answered 202 with a job, which tells its progress and report."""
    go = threading.Event()

    def slow_audit(*positional: Any, progress: Any, **named: Any) -> Any:
        progress(1, 2)
        assert go.wait(20)
        return real_audit(*positional, **named)

    monkeypatch.setattr(audits, "audit_log", slow_audit)
    monkeypatch.setattr(audits, "PATIENCE_SECONDS", 0.1)
    answer = shop.operator.post("/logs/shop/audit")
    began = answer.json()
    assert (answer.status_code, began["state"], began["kind"]) == (202, "running", "audit")
    path = answer.headers["location"]
    assert path == f"/logs/shop/jobs/{began['job']}"
    job = shop.operator.get(path).json()
    assert (job["done"], job["total"], job["report"]) == (1, 2, None)
    other = shop.operator.get(path.replace("shop", "other"))
    assert (other.status_code, other.json()["code"]) == (404, "job_not_found")
    assert shop.operator.post("/logs/shop/audit").status_code == 202
    busy = shop.operator.post("/logs/shop/audit")
    assert (busy.status_code, busy.json()["code"]) == (503, "jobs_busy")
    assert "retry-after" in busy.headers
    go.set()
    job = when_ended(shop, path)
    assert (job["state"], job["problem"], job["report"]["is_clean"]) == ("done", None, True)


def test_a_job_that_failed_says_why(shop: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that raised later than its answer has its problem; a defect's words stay out of it."""
    for raised, code in ((AuditStartError(), "audit_start"), (ValueError("canary"), "internal")):

        def failing(*_: Any, failure: Exception = raised, **__: Any) -> Any:
            time.sleep(0.3)
            raise failure

        monkeypatch.setattr(audits, "audit_log", failing)
        monkeypatch.setattr(audits, "PATIENCE_SECONDS", 0.05)
        answer = shop.operator.post("/logs/shop/audit")
        assert answer.status_code == 202
        job = when_ended(shop, answer.headers["location"])
        assert (job["state"], job["report"], job["problem"]["code"]) == ("failed", None, code)
        assert "canary" not in str(job)


def when_ended(server: Running, path: str) -> dict[str, Any]:
    """The job at *path*, once it has ended."""
    deadline = time.monotonic() + 20
    while True:
        job: dict[str, Any] = server.operator.get(path).json()
        if job["state"] != "running" or time.monotonic() > deadline:
            return job
        time.sleep(0.05)


def test_a_source_is_switched_off_and_mended(shop: Running) -> None:
    """log 22: PATCH of a source turns its capture off and on; a reconcile with repair mends it."""
    path = "/logs/shop/sources/item"
    off = shop.operator.patch(path, json={"enabled": False}).json()["source"]
    assert (off["enabled"], off["state"]) == (False, "broken")
    shop.builder.execute("INSERT INTO public.item VALUES (3, 'unseen')")
    on = shop.operator.patch(path, json={"enabled": True}).json()["source"]
    assert (on["enabled"], on["state"]) == (True, "broken")
    mended = post(shop, "reconcile", source_table="item", repair=True)
    assert (mended["queued"], mended["state"]) == (1, "active")
    shop.seal("shop")
    assert post(shop, "audit")["is_clean"]
    unknown = shop.operator.patch("/logs/shop/sources/none", json={"enabled": True})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "source_not_found")
    for fields in ({}, {"enabled": "perhaps"}, {"enabled": True, "key": []}):
        assert shop.operator.patch(path, json=fields).status_code == 400

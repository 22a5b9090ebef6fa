"""Health, metrics, and the switch of sealing (log.md, sections 6.2 and 6.3)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final, Literal

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from prometheus_client import CONTENT_TYPE_LATEST

from tallystick import metrics
from tallystick.chain.overview import (
    Standing,
    Unfinished,
    count_unfinished,
    list_standings,
)
from tallystick.chain.values import State
from tallystick.clock import format_time
from tallystick.db import Transaction
from tallystick.db.errors import DatabaseUnavailableError
from tallystick.http.answers import Body
from tallystick.http.asked import Caller, Served, Write
from tallystick.http.authorize import Principal, may_call
from tallystick.http.errors import UnauthenticatedError
from tallystick.http.scopes import HASHES
from tallystick.http.services import Services
from tallystick.http.writing import Writing
from tallystick.publish.values import Health, LogGauges
from tallystick.seal.sequencer import Sealing, sealing_status, set_sealing

MAX_LAG_SECONDS: Final = 30.0
UNFINISHED: Final[tuple[State, ...]] = (
    "queued",
    "signed",
    "broadcast",
    "mined",
    "confirmed",
    "dropped",
)
"""The states of a transaction that are not its last."""
HEALTH_SECONDS: Final = 1.0
"""Everybody may ask, so the database is asked once a second at most."""


class WaitedForItem(msgspec.Struct, frozen=True):
    """A witness for whose cosignature the head of a log waits, and what it said last."""

    log_name: str
    tree_size: int
    published_size: int
    witness: str
    status: str
    last_size: int | None
    last_error: str | None


class HealthBody(msgspec.Struct, frozen=True, kw_only=True):
    """
    `ok`; `degraded`, when heads wait for their witnesses or sealing does not run; `failing`
    with status 503, without a database, with a failed log, or with rows older than 30 s.
    *waiting_for* names the witnesses that heads wait for; those of private logs are told to
    keys with log:read alone.
    """

    status: Literal["ok", "degraded", "failing"]
    database: Literal["ok", "unavailable"]
    migration: int | None = None
    sealing: str | None = None
    lag_seconds: float | None = None
    failed_logs: int | None = None
    unpublished_logs: int | None = None
    witness_conflicts: int | None = None
    waiting_for: list[WaitedForItem] | None = None


class SealingBody(Body, frozen=True, kw_only=True):
    """Whether sealing runs: running, paused or stopping, and since when."""

    sealing: str
    changed_at: str


class LastHealth:
    """The health as it was found in the last second."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until = 0.0
        self._body: HealthBody | None = None

    def get(self, find: Callable[[], HealthBody]) -> HealthBody:
        """Return what *find* says, or what it said less than a second ago."""
        with self._lock:
            if self._body is None or time.monotonic() >= self._until:
                self._body = find()
                self._until = time.monotonic() + HEALTH_SECONDS
            return self._body


@get("/api/v1/health", sync_to_thread=True)
def get_health(
    services: Served, principal: Caller, last_health: NamedDependency[LastHealth]
) -> Response[HealthBody]:
    """Database, migration, lag and witnesses; 503 when something is failing."""
    body = last_health.get(lambda: find_health(services))
    if body.waiting_for:
        sees_all = principal is not None and principal.has_one_of(*HASHES.scopes)
        heads = services.publisher.heads.by_name
        shown = [
            one
            for one in body.waiting_for
            if sees_all or (one.log_name in heads and may_call(HASHES, None, heads[one.log_name]))
        ]
        body = msgspec.structs.replace(body, waiting_for=shown)
    return health_response(body)


@get("/api/v1/health/live", sync_to_thread=False)
def get_live() -> dict[str, str]:
    """Whether the process answers."""
    return {"status": "ok"}


@get("/api/v1/health/ready", sync_to_thread=True)
def get_ready(services: Served, last_health: NamedDependency[LastHealth]) -> Response[HealthBody]:
    """Whether reads can be served: the database answers and the heads were read."""
    body = msgspec.structs.replace(last_health.get(lambda: find_health(services)), waiting_for=None)
    is_ready = body.database == "ok" and services.publisher.is_loaded
    status = HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE
    return Response(body, status_code=status, headers={"Cache-Control": "no-store"})


def find_health(services: Services) -> HealthBody:
    """Ask the database how everything does."""
    try:
        found = services.publisher.health()
        waiting = services.publisher.waited_for() if found.unpublished_logs else []
    except DatabaseUnavailableError:
        return HealthBody(status="failing", database="unavailable")
    return HealthBody(
        status=verdict(found),
        database="ok",
        migration=found.migration,
        sealing=found.sealing,
        lag_seconds=round(found.lag_seconds or 0.0, 3),
        failed_logs=found.failed_logs,
        unpublished_logs=found.unpublished_logs,
        witness_conflicts=found.witness_conflicts,
        waiting_for=[
            WaitedForItem(
                log_name=one.log_name,
                tree_size=one.size,
                published_size=one.published_size,
                witness=one.witness,
                status=one.status,
                last_size=one.last_size,
                last_error=one.last_error,
            )
            for one in waiting
        ],
    )


def verdict(found: Health) -> Literal["ok", "degraded", "failing"]:
    """Return the one word for all of it."""
    if found.failed_logs or (found.lag_seconds or 0.0) > MAX_LAG_SECONDS:
        return "failing"
    if found.unpublished_logs or found.witness_conflicts or found.sealing != "running":
        return "degraded"
    return "ok"


def health_response(body: HealthBody) -> Response[HealthBody]:
    """Return *body* with the status that load balancers read."""
    status = HTTPStatus.SERVICE_UNAVAILABLE if body.status == "failing" else HTTPStatus.OK
    return Response(body, status_code=status, headers={"Cache-Control": "no-store"})


@get("/admin/status", sync_to_thread=True)
def get_admin_status(services: Served) -> SealingBody:
    """Whether sealing runs."""
    with services.database.transaction(read_only=True) as tx:
        return sealing_body(sealing_status(tx))


@post("/admin/pause", status_code=200, sync_to_thread=True)
def post_pause(writing: Write, principal: Caller) -> Response[SealingBody]:
    """Take no further batch, in every process; capture and reading go on."""
    return switch(writing, principal, "paused")


@post("/admin/resume", status_code=200, sync_to_thread=True)
def post_resume(writing: Write, principal: Caller) -> Response[SealingBody]:
    """Seal again."""
    return switch(writing, principal, "running")


@post("/admin/stop", status_code=200, sync_to_thread=True)
def post_stop(writing: Write, principal: Caller) -> Response[SealingBody]:
    """Seal what was captured before, and then nothing."""
    return switch(writing, principal, "stopping")


def switch(writing: Writing, principal: Principal | None, status: str) -> Response[SealingBody]:
    """Set whether sealing runs, and answer what it is now."""
    if principal is None:
        raise UnauthenticatedError
    actor = principal.name

    def work(tx: Transaction) -> SealingBody:
        set_sealing(tx, status, actor=actor)
        return sealing_body(sealing_status(tx))

    return writing.run(work)


def sealing_body(sealing: Sealing) -> SealingBody:
    """Return *sealing* as it is answered."""
    return SealingBody(sealing=sealing.status, changed_at=format_time(sealing.changed_at))


@get("/metrics", sync_to_thread=True)
def get_metrics(services: Served) -> Response[bytes]:
    """Every measure, in the format of Prometheus."""
    set_gauges(services.publisher.log_gauges())
    server = services.publisher.server_gauges()
    metrics.OUTBOX_LAG_SECONDS.set(server.outbox_lag_seconds)
    metrics.LONGEST_TRANSACTION_SECONDS.set(server.longest_transaction_seconds)
    with services.database.transaction(read_only=True) as tx:
        set_chain_gauges(list_standings(tx), count_unfinished(tx))
    return Response(metrics.exposition(), headers={"Content-Type": CONTENT_TYPE_LATEST})


def set_gauges(logs: list[LogGauges]) -> None:
    """Set the gauges of every log; of those that share a label, ages at their greatest."""
    totals: dict[tuple[Any, str], float] = {}
    for log in logs:
        label = metrics.log_label(log.log_name)
        values = (
            log.size,
            log.published_size,
            log.backlog_rows,
            log.backlog_age_seconds,
            log.quarantine_rows,
            log.broken_sources,
            log.witnesses_behind,
        )
        for gauge, value in zip(metrics.PER_LOG_GAUGES, values, strict=True):
            known = totals.get((gauge, label), 0.0)
            is_age = gauge is metrics.BACKLOG_AGE_SECONDS
            totals[gauge, label] = max(known, value) if is_age else known + value
    for (gauge, label), total in totals.items():
        gauge.labels(label).set(total)


def set_chain_gauges(standings: list[Standing], unfinished: list[Unfinished]) -> None:
    """Set the gauges of every network; a state that nothing is in any more counts 0."""
    counts = {(one.chain_id, one.state): one.count for one in unfinished}
    for network in standings:
        label = str(network.chain_id)
        metrics.CHAIN_HALTED.labels(label).set(network.status == "halted")
        metrics.CHAIN_OLDEST_INTENT_SECONDS.labels(label).set(network.oldest_intent_seconds or 0)
        for gauge, value in (
            (metrics.CHAIN_HEAD, network.head),
            (metrics.CHAIN_FINALIZED, network.finalized),
            (metrics.CHAIN_LAG_SECONDS, network.lag_seconds),
        ):
            if value is not None:
                gauge.labels(label).set(value)
        for state in UNFINISHED:
            metrics.CHAIN_INTENTS.labels(label, state).set(counts.get((network.chain_id, state), 0))


ROUTES = [
    get_health,
    get_live,
    get_ready,
    get_admin_status,
    post_pause,
    post_resume,
    post_stop,
    get_metrics,
]

"""
Every metric by its name: declared once, here, for the slices that count (log.md, section 6.3).

The registry is our own, so that nothing a library registers is served by accident. Gauges
that the database knows are set when somebody asks; counters and histograms belong to the
process that does the work. Where several processes make one server, `tally up` names a
directory in `PROMETHEUS_MULTIPROC_DIR` in which they keep them together.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

MAX_LOG_LABELS: Final = 1_000
"""Each label of a log is a row of every scrape; logs beyond this share one."""
OTHER_LOGS: Final = "other"
SECONDS: Final = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
)
ROWS: Final = (1, 10, 100, 1_000, 5_000, 10_000, 50_000, 100_000, 500_000, 1_000_000)

REGISTRY: Final = CollectorRegistry()

LOG_SIZE: Final = Gauge(
    "tally_log_size", "Leaves sealed.", ["log"], registry=REGISTRY, multiprocess_mode="mostrecent"
)
PUBLISHED_SIZE: Final = Gauge(
    "tally_published_size",
    "Leaves of the published head.",
    ["log"],
    registry=REGISTRY,
    multiprocess_mode="mostrecent",
)
BACKLOG_ROWS: Final = Gauge(
    "tally_backlog_rows",
    "Rows that wait to be sealed, to 100,000.",
    ["log"],
    registry=REGISTRY,
    multiprocess_mode="mostrecent",
)
BACKLOG_AGE_SECONDS: Final = Gauge(
    "tally_backlog_age_seconds",
    "Age of the oldest unsealed row.",
    ["log"],
    registry=REGISTRY,
    multiprocess_mode="mostrecent",
)
QUARANTINE_ROWS: Final = Gauge(
    "tally_quarantine_rows",
    "Rows that cannot be sealed.",
    ["log"],
    registry=REGISTRY,
    multiprocess_mode="mostrecent",
)
SOURCE_BROKEN: Final = Gauge(
    "tally_source_broken",
    "Broken sources.",
    ["log"],
    registry=REGISTRY,
    multiprocess_mode="mostrecent",
)
WITNESS_BEHIND: Final = Gauge(
    "tally_witness_behind",
    "Witnesses that have not cosigned the head.",
    ["log"],
    registry=REGISTRY,
    multiprocess_mode="mostrecent",
)
OUTBOX_LAG_SECONDS: Final = Gauge(
    "tally_outbox_lag_seconds",
    "Age of the oldest event without a position.",
    registry=REGISTRY,
    multiprocess_mode="mostrecent",
)
LONGEST_TRANSACTION_SECONDS: Final = Gauge(
    "tally_longest_transaction_seconds",
    "Age of the oldest open transaction.",
    registry=REGISTRY,
    multiprocess_mode="mostrecent",
)

WAL_LAG_BYTES: Final = Gauge(
    "tally_wal_lag_bytes",
    "WAL that is written and not yet read for sources captured from it.",
    registry=REGISTRY,
    multiprocess_mode="mostrecent",
)

SEALED_ROWS: Final = Counter("tally_sealed_rows", "Rows sealed.", ["log"], registry=REGISTRY)
CHECKPOINTS: Final = Counter("tally_checkpoints", "Checkpoints signed.", ["log"], registry=REGISTRY)
SEAL_ERRORS: Final = Counter("tally_seal_errors", "Looks that failed.", ["log"], registry=REGISTRY)
HTTP_REQUESTS: Final = Counter(
    "tally_http_requests", "Requests answered.", ["route", "code"], registry=REGISTRY
)

CACHE_READS: Final = Counter(
    "tally_cache_reads", "Reads of the cache: hit, miss, error.", ["result"], registry=REGISTRY
)

SEAL_SECONDS: Final = Histogram(
    "tally_seal_seconds",
    "Duration of a phase of sealing.",
    ["log", "phase"],
    buckets=SECONDS,
    registry=REGISTRY,
)
BATCH_ROWS: Final = Histogram(
    "tally_batch_rows", "Rows of a batch.", buckets=ROWS, registry=REGISTRY
)
COMMIT_TO_CHECKPOINT_SECONDS: Final = Histogram(
    "tally_commit_to_checkpoint_seconds",
    "From the capture of a batch's oldest row to its checkpoint.",
    buckets=SECONDS,
    registry=REGISTRY,
)
HTTP_SECONDS: Final = Histogram(
    "tally_http_seconds", "Duration of a request.", ["route"], buckets=SECONDS, registry=REGISTRY
)
WITNESS_SECONDS: Final = Histogram(
    "tally_witness_seconds", "Duration of asking a witness.", buckets=SECONDS, registry=REGISTRY
)

CHAIN_RPC_SECONDS: Final = Histogram(
    "tally_chain_rpc_seconds",
    "Duration of a request to an EVM node.",
    ["method"],
    buckets=SECONDS,
    registry=REGISTRY,
)

CHAIN_FOLLOWER_ERRORS: Final = Counter(
    "tally_chain_follower_errors",
    "Calls of followers that raised, by type of transaction or name of contract.",
    ["type"],
    registry=REGISTRY,
)
CHAIN_REORGS: Final = Counter(
    "tally_chain_reorgs", "Reorganisations taken back.", ["chain_id"], registry=REGISTRY
)

CHAIN_HEAD: Final = Gauge(
    "tally_chain_head",
    "Number of the newest recorded block.",
    ["chain_id"],
    registry=REGISTRY,
    multiprocess_mode="mostrecent",
)
CHAIN_FINALIZED: Final = Gauge(
    "tally_chain_finalized",
    "Number of the newest block that is final.",
    ["chain_id"],
    registry=REGISTRY,
    multiprocess_mode="mostrecent",
)
CHAIN_LAG_SECONDS: Final = Gauge(
    "tally_chain_lag_seconds",
    "Age of the newest recorded block.",
    ["chain_id"],
    registry=REGISTRY,
    multiprocess_mode="mostrecent",
)
CHAIN_INTENTS: Final = Gauge(
    "tally_chain_intents",
    "Transactions that are not final, by state.",
    ["chain_id", "state"],
    registry=REGISTRY,
    multiprocess_mode="mostrecent",
)
CHAIN_OLDEST_INTENT_SECONDS: Final = Gauge(
    "tally_chain_oldest_intent_seconds",
    "Since the oldest intent that is in no block was handed over.",
    ["chain_id"],
    registry=REGISTRY,
    multiprocess_mode="mostrecent",
)
CHAIN_HALTED: Final = Gauge(
    "tally_chain_halted",
    "1 where the network is halted: must be 0.",
    ["chain_id"],
    registry=REGISTRY,
    multiprocess_mode="mostrecent",
)
CHAIN_ACCOUNT_BALANCE_WEI: Final = Gauge(
    "tally_chain_account_balance_wei",
    "What an account of ours has.",
    ["chain_id", "address"],
    registry=REGISTRY,
    multiprocess_mode="mostrecent",
)
CHAIN_FEE_CAPPED: Final = Gauge(
    "tally_chain_fee_capped",
    "Transactions that wait because the chain asks for more than may be offered.",
    ["chain_id", "address"],
    registry=REGISTRY,
    multiprocess_mode="mostrecent",
)

PER_LOG_GAUGES: Final = (
    LOG_SIZE,
    PUBLISHED_SIZE,
    BACKLOG_ROWS,
    BACKLOG_AGE_SECONDS,
    QUARANTINE_ROWS,
    SOURCE_BROKEN,
    WITNESS_BEHIND,
)

_labels: set[str] = set()
_labels_lock = threading.Lock()


def log_label(log_name: str) -> str:
    """Return the label of a log: its name, or `other` once 1,000 logs have labels."""
    with _labels_lock:
        if log_name in _labels or len(_labels) < MAX_LOG_LABELS:
            _labels.add(log_name)
            return log_name
    return OTHER_LOGS


def count_batch(
    log_name: str,
    *,
    rows: int,
    phases: Mapping[str, float],
    oldest_captured_at_seconds: float | None,
) -> None:
    """Count one look of the sequencer; *phases* in seconds, the time since 1970."""
    label = log_label(log_name)
    for phase, seconds in phases.items():
        SEAL_SECONDS.labels(label, phase).observe(seconds)
    if rows == 0:
        return
    SEALED_ROWS.labels(label).inc(rows)
    CHECKPOINTS.labels(label).inc()
    BATCH_ROWS.observe(rows)
    if oldest_captured_at_seconds is not None:
        COMMIT_TO_CHECKPOINT_SECONDS.observe(max(0.0, time.time() - oldest_captured_at_seconds))


def exposition() -> bytes:
    """Return every metric in the format of Prometheus, of all processes that keep them together."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REGISTRY)
    together = CollectorRegistry()
    MultiProcessCollector(together)  # type: ignore[no-untyped-call]
    return generate_latest(together)

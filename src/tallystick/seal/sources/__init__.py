"""Sources: which tables feed which log; installing, validating, backfilling, detaching them."""

from tallystick.seal.sources.backfill import run_backfill, run_backfills
from tallystick.seal.sources.checks import (
    check_source,
    check_sources,
    follow_switches,
    install_new_sources,
    refresh_source,
    switch_source,
)
from tallystick.seal.sources.operations import (
    add_source,
    detach_source,
    get_source,
    list_sources,
    requeue,
)
from tallystick.seal.sources.polling import Poller
from tallystick.seal.sources.source import (
    BackfillResult,
    CaptureRule,
    CheckedSource,
    Problem,
    RequeueResult,
    Source,
    SourceNo,
    SourceSettings,
    TruncateRule,
)
from tallystick.seal.sources.store import read_triggers
from tallystick.seal.sources.table import Trigger

__all__ = [
    "BackfillResult",
    "CaptureRule",
    "CheckedSource",
    "Poller",
    "Problem",
    "RequeueResult",
    "Source",
    "SourceNo",
    "SourceSettings",
    "Trigger",
    "TruncateRule",
    "add_source",
    "check_source",
    "check_sources",
    "detach_source",
    "follow_switches",
    "get_source",
    "install_new_sources",
    "list_sources",
    "read_triggers",
    "refresh_source",
    "requeue",
    "run_backfill",
    "run_backfills",
    "switch_source",
]

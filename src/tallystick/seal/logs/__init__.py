"""Logs and their keys: making, configuring, failing, recovering, freezing."""

from tallystick.seal.logs.keys import KeyRing
from tallystick.seal.logs.log import HOUSE_LOGS, Log, LogId, LogKey, LogName, LogSettings
from tallystick.seal.logs.operations import (
    configure_log,
    create_house_logs,
    create_log,
    create_outbox_key,
    fail_log,
    freeze_log,
    get_log,
    has_log,
    list_keys,
    list_logs,
    open_new_logs,
    outbox_signer,
    recover_log,
)
from tallystick.seal.logs.rotation import activate_key, create_key, retire_key

__all__ = [
    "HOUSE_LOGS",
    "KeyRing",
    "Log",
    "LogId",
    "LogKey",
    "LogName",
    "LogSettings",
    "activate_key",
    "configure_log",
    "create_house_logs",
    "create_key",
    "create_log",
    "create_outbox_key",
    "fail_log",
    "freeze_log",
    "get_log",
    "has_log",
    "list_keys",
    "list_logs",
    "open_new_logs",
    "outbox_signer",
    "recover_log",
    "retire_key",
]

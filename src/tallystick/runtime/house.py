"""
The house: what `tally init` puts into a migrated database (log.md, section 2.7).

The house log `tally` seals the configuration columns of our own tables. Columns that show
progress are excluded: they change while logs are sealed, and the log would feed itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tallystick.config import Settings
from tallystick.db import Database, Transaction, migrate
from tallystick.runtime.operator import operator_key_file
from tallystick.seal.headlog import create_heads_log
from tallystick.seal.logs import (
    KeyRing,
    create_house_logs,
    create_outbox_key,
    get_log,
    has_log,
)
from tallystick.seal.sources import CaptureRule, TruncateRule, add_source

HOUSE_LOG: Final = "tally"


@dataclass(frozen=True, slots=True)
class HouseSource:
    """How one of our own tables feeds a house log, where it differs from any other source."""

    exclude: tuple[str, ...] = ()
    """Columns that are no configuration; a generated column goes with those that it is made of."""
    private: tuple[str, ...] = ()
    """Columns that the leaf hides behind commitments."""
    on_update: CaptureRule = "record"
    on_delete: CaptureRule = "record"
    on_truncate: TruncateRule | None = None
    log: str = HOUSE_LOG


HOUSE_SOURCES: Final[Mapping[str, HouseSource]] = {
    "tally.verification_logs": HouseSource(exclude=("status", "failure")),
    "tally.verification_sources": HouseSource(
        exclude=(
            "relation",
            "status",
            "problem",
            "poll_cursor",
            "covered_relations",
            "backfill_relations",
            "backfill_after",
            "schema_fingerprint",
            "checked_at",
            "reconciled_at",
        )
    ),
    "tally.log_keys": HouseSource(),
    "tally.witnesses": HouseSource(exclude=("last_size", "last_seen_at", "last_error")),
    "tally.redactions": HouseSource(),
    "tally.prunings": HouseSource(),
    "tally.user_risk_history": HouseSource(on_delete="refuse", on_truncate="refuse"),
    "tally.api_tiers": HouseSource(on_delete="refuse", on_truncate="refuse"),
    "tally.api_scopes": HouseSource(on_delete="refuse", on_truncate="refuse"),
    "tally.users": HouseSource(
        exclude=("last_activity", "version"),
        private=("wallet_address", "username", "tags"),
        on_delete="refuse",
        on_truncate="refuse",
    ),
    # A key that was never used may be deleted; a trigger refuses all others.
    "tally.api_keys": HouseSource(
        exclude=("requests_today", "requests_day", "last_used", "last_used_at", "version"),
        private=("name", "client_name", "description", "contact_email"),
        on_truncate="refuse",
    ),
    "tally.human_proofs": HouseSource(private=("proof_data", "nullifier"), on_truncate="refuse"),
    "tally.networks": HouseSource(
        exclude=("scanned_block", "scanned_hash", "finalized_block", "finalized_time"),
        on_truncate="refuse",
    ),
    "tally.chain_accounts": HouseSource(exclude=("next_nonce",), on_truncate="refuse"),
    "tally.blockchain_transaction_types": HouseSource(on_truncate="refuse"),
    "tally.contract_deployments": HouseSource(on_truncate="refuse", log="settle"),
    "tally.blockchain_transactions": HouseSource(on_truncate="refuse", log="settle"),
    "tally.price_snapshots": HouseSource(on_truncate="refuse", log="settle"),
}
"""The tables that feed the house logs."""


@dataclass(frozen=True, slots=True)
class Initialised:
    """What `initialise` found missing and made: migrations by name, and the logs that are there."""

    migrations: list[str]
    logs: list[str]
    sources: list[str]


def initialise(
    settings: Settings, url: str, *, test: bool = False, log_of_logs: bool = False
) -> Initialised:
    """
    Migrate the database, make the house logs, attach the house log's sources, and write the
    operator's key.

    Everything that is there already is left as it is, so that it may run at each start. With
    *log_of_logs* the log `tally_heads` is made too, and takes heads from then on.

    Raises:
        DatabaseUnavailableError: The database does not answer.
        MigrationChecksumError, SchemaTooNewError: It was migrated by another program.
        KeyPermissionsError: The key directory or the operator's key is open to others.
    """
    applied = migrate(url, test=test)
    keys = KeyRing(settings.keys.absolute())
    with Database(url, pool_size=2, application="tallystick-init") as database:
        with database.transaction() as tx:
            prefix = origin_prefix(tx, settings)
            logs = create_house_logs(tx, keys=keys, origin_prefix=prefix)
            create_outbox_key(tx, keys=keys, origin_prefix=prefix)
            if log_of_logs:
                logs.append(create_heads_log(tx, keys=keys, origin_prefix=prefix))
        sources = add_house_sources(database)
    operator_key_file(settings)
    return Initialised([m.name for m in applied], [log.log_name for log in logs], sources)


def add_house_sources(database: Database) -> list[str]:
    """Attach the house log's sources where they are missing, and return their tables."""
    for table, source in HOUSE_SOURCES.items():
        # One transaction each: add_source locks the table until the end of its transaction.
        with database.transaction() as tx:
            add_source(
                tx,
                source.log,
                table,
                exclude=source.exclude or None,
                private=source.private,
                on_update=source.on_update,
                on_delete=source.on_delete,
                on_truncate=source.on_truncate,
            )
    return sorted(HOUSE_SOURCES)


def origin_prefix(tx: Transaction, settings: Settings) -> str:
    """
    Return the prefix of the origins of new logs: the one that is set, else the house log's.

    So a log that is made from another shell, or after the port was changed, belongs to the
    same house; only the first start takes the prefix from host and port.
    """
    if settings.origin_prefix is not None:
        return settings.origin_prefix
    origin = get_log(tx, HOUSE_LOG).origin if has_log(tx, HOUSE_LOG) else None
    return settings.origins if origin is None else origin.removesuffix(f"/{HOUSE_LOG}")

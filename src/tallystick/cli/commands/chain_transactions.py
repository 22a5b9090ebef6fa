"""`tally chain`: transactions, and what an operator does with them (chain.md, section 6)."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Final, Literal

from cyclopts import Parameter

from tallystick.chain import (
    ChainTransaction,
    TransactionId,
    bump_transaction,
    cancel_transaction,
    find_transaction,
    list_attempts,
    list_transactions,
)
from tallystick.chain.errors import UnknownTransactionError
from tallystick.chain.intents.reading import MAX_ROWS
from tallystick.chain.overview import chains_of
from tallystick.chain.values import Attempt
from tallystick.cli.commands.chain import ChainOption
from tallystick.cli.commands.chain_output import facts, show_facts, show_facts_list
from tallystick.cli.errors import UsageError
from tallystick.cli.output import print_json
from tallystick.cli.place import HERE, Place
from tallystick.record import ChainId, parse_transaction_hash
from tallystick.runtime.chain import reconcile_network, register_built_in_followers
from tallystick.runtime.devchain.place import chain_endpoints

COLUMNS: Final = (
    "id",
    "chain_id",
    "transaction_type",
    "state",
    "function_name",
    "nonce",
    "transaction_hash",
    "cost_usd",
    "error_message",
)
ATTEMPT_COLUMNS: Final = (
    "attempt",
    "kind",
    "transaction_hash",
    "max_fee_per_gas",
    "max_priority_fee_per_gas",
    "signed_at",
    "broadcast_at",
    "last_error",
)

IdArgument = Annotated[int, Parameter(help="Number of the transaction.")]


@dataclasses.dataclass(frozen=True, slots=True)
class ReconciledNetwork:
    """What a network's reconciliation found."""

    chain_id: ChainId
    adopted: list[int]
    is_caught_up: bool


def list_all(
    *,
    status: Annotated[
        Literal["pending", "success", "failed"] | None, Parameter(help="As they ended.")
    ] = None,
    kind: Annotated[str | None, Parameter(name="--type", help="Of this type.")] = None,
    chain: ChainOption = None,
    limit: Annotated[int, Parameter(help="How many at most, 1 to 1000.")] = 100,
    after: Annotated[int | None, Parameter(help="Go on behind this number.")] = None,
    place: Place = HERE,
) -> None:
    """List transactions, the newest first."""
    if not 1 <= limit < MAX_ROWS:
        raise UsageError("--limit is 1 to 1000")
    with place.transaction(read_only=True) as tx:
        found = list_transactions(
            tx,
            transaction_type=kind,
            status=status,
            chain_id=None if chain is None else ChainId(chain),
            after=None if after is None else TransactionId(after),
            limit=limit + 1,
        )
    following = found[limit - 1].id if len(found) > limit else None
    show_facts_list(found[:limit], COLUMNS, as_json=place.json, following=following)


def show_one(
    transaction_hash: Annotated[str, Parameter(name="HASH", help="Of any of its signings.")],
    /,
    *,
    chain: ChainOption = None,
    place: Place = HERE,
) -> None:
    """Show a transaction and every signing of it."""
    wanted = parse_transaction_hash(transaction_hash)
    with place.transaction(read_only=True) as tx:
        chains = chains_of(tx, wanted) if chain is None else [ChainId(chain)]
        if not chains:
            raise UnknownTransactionError(f"no transaction has the hash {wanted}")
        if len(chains) > 1:
            raise UsageError(f"--chain is needed: the hash is known on {sorted(chains)}")
        found = find_transaction(tx, chains[0], wanted)
        attempts = list_attempts(tx, found.id)
    show_transaction(found, attempts, as_json=place.json)


def cancel(number: IdArgument, /, *, place: Place = HERE) -> None:
    """Cancel a transaction: at once where it is queued, else by the sender, if it still can."""
    # What is queued is cancelled in this process, which therefore tells whoever follows.
    register_built_in_followers()
    with place.transaction() as tx:
        found = cancel_transaction(tx, TransactionId(number))
    show_facts(found, as_json=place.json)


def bump(number: IdArgument, /, *, place: Place = HERE) -> None:
    """Ask the sender to offer more for a signed transaction."""
    with place.transaction() as tx:
        found = bump_transaction(tx, TransactionId(number))
    show_facts(found, as_json=place.json)


def reconcile(*, chain: ChainOption = None, place: Place = HERE) -> None:
    """After a restore: take up what the chain knows and the database forgot. Stop senders first."""
    settings = place.settings()
    endpoints = chain_endpoints(settings)
    settings = settings.model_copy(update={"chain_endpoints": dict(endpoints)})
    chains = [ChainId(chain)] if chain is not None else [ChainId(one) for one in sorted(endpoints)]
    if not chains:
        raise UsageError("no network has an endpoint: set TALLY_CHAIN_ENDPOINTS")
    results = []
    with place.database() as database:
        for chain_id in chains:
            found = reconcile_network(database, settings, chain_id)
            results.append(ReconciledNetwork(chain_id, list(found.adopted), found.is_caught_up))
    columns = ("chain_id", "adopted", "is_caught_up")
    show_facts_list(results, columns, as_json=place.json)


def show_transaction(
    transaction: ChainTransaction, attempts: list[Attempt], *, as_json: bool
) -> None:
    """Write a transaction and its signings, without the signed bytes."""
    if as_json:
        signings: list[dict[str, Any]] = [facts(one) for one in attempts]
        for signing in signings:
            del signing["raw"]
        print_json({**facts(transaction), "attempts": signings})
        return
    show_facts(transaction, as_json=False)
    if attempts:
        show_facts_list(attempts, ATTEMPT_COLUMNS, as_json=False)

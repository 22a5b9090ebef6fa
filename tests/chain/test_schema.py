"""What the chain's tables promise: columns, states, claims, laws, rights (chain.md, 2 and 3)."""

from __future__ import annotations

import itertools
import re
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import psycopg
import pytest

from tallystick.db.errors import AppendOnlyError, IllegalTransitionError
from tallystick.db.sqlstate import translate
from tests.chain.rows import CHAIN, OURS, ChainRows, hash_of

if TYPE_CHECKING:
    from collections.abc import Iterator

SPEC = Path(__file__).parents[3] / "shared" / "spec" / "chain.md"

TABLES = {
    "networks": "chain_id name native_symbol is_testnet has_l1_fee confirmations finality_mode"
    " finality_quorum block_seconds resubmit_seconds max_fee_per_gas_wei min_tip_wei status"
    " halted_reason scanned_block scanned_hash finalized_block finalized_time created_at",
    "chain_blocks": "chain_id block_hash block_number parent_hash block_time is_canonical"
    " created_at",
    "chain_accounts": "chain_id address purpose signer_name next_nonce minimum_balance_wei"
    " is_paused created_at",
    "blockchain_transaction_types": "name slice purpose comment created_at",
    "blockchain_transactions": "id chain_id transaction_type origin idempotency_key intent_digest"
    " from_address to_address contract_address contract_name function_name parameters call_data"
    " value_transferred gas_limit nonce transaction_hash state status receipt_status block_number"
    " block_hash transaction_index gas_used gas_price l1_fee_wei fee_wei transaction_fee price_id"
    " cost_usd challenge_id user_id error_message revert_data metadata submitted_at mined_at"
    " confirmed_at finalized_at created_at",
    "blockchain_transaction_attempts": "chain_id transaction_hash transaction_id attempt kind raw"
    " max_fee_per_gas max_priority_fee_per_gas gas_limit signed_at broadcast_at last_error"
    " created_at",
    "contract_deployments": "id chain_id contract_name contract_address contract_version"
    " deployment_tx_hash deployer_address block_number constructor_args compiled_bytecode abi"
    " abi_hash code_hash source_hash compiler_version is_active deployed_at created_at",
    "contract_events": "chain_id block_hash log_index block_number transaction_hash contract_id"
    " event_name topics data args state created_at",
    "price_snapshots": "id symbol usd source observed_at taken_at created_at",
    "v_blockchain_tx_summary": "chain_id transaction_type status tx_count total_gas total_value"
    " last_transaction total_fee_wei total_cost_usd",
    "v_chain_violations": "law detail",
}
INDEXES = [
    "idx_blockchain_tx_hash",
    "idx_blockchain_tx_type",
    "idx_blockchain_tx_status",
    "idx_blockchain_tx_challenge_id",
    "idx_blockchain_tx_user_id",
    "idx_blockchain_tx_block_number",
    "idx_blockchain_tx_submitted_at",
    "idx_blockchain_tx_contract",
    "idx_deployment_chain",
    "idx_deployment_name",
]
CLAIMS = ("mined_has_block", "nonce_iff_signed", "finalized_has_time", "priced_iff_included")
STATES = {
    "blockchain_transactions": (
        "state",
        [
            "queued",
            "signed",
            "broadcast",
            "mined",
            "confirmed",
            "finalized",
            "failed",
            "cancelled",
            "dropped",
        ],
    ),
    "networks": ("status", ["active", "paused", "halted"]),
    "contract_events": ("state", ["observed", "final", "orphaned"]),
}

SHIPPED = {
    1: (12, "tag"),
    10: (20, "tag"),
    8453: (20, "tag"),
    42161: (20, "tag"),
    137: (128, "tag"),
    56: (15, "tag"),
    11155111: (2, "depth"),
    84532: (2, "depth"),
    421614: (2, "depth"),
    11155420: (2, "depth"),
    31337: (2, "depth"),
    80002: (16, "depth"),
    97: (5, "depth"),
    131277322940537: (1, "depth"),
}
TYPES = [
    "challenge_create",
    "challenge_accept",
    "challenge_join",
    "challenge_resolve",
    "challenge_cancel",
    "challenge_dispute",
    "payout_claim",
    "escrow_release",
    "dispute_resolve",
    "points_award",
    "points_redeem",
    "approval",
    "fee_withdrawal",
    "anchor_publish",
    "threat_publish",
    "genome_register",
    "bounty_payment",
    "contract_deploy",
    "contract_admin",
]


@pytest.fixture(scope="module")
def full(test_server) -> Iterator[ChainRows]:
    """A network on which each thing that can happen has happened; tests leave it as it is."""
    with (
        test_server.database() as url,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        yield fill(ChainRows(connection).open())


def fill(rows: ChainRows) -> ChainRows:
    """Let each thing happen once."""
    for number in range(1, 6):
        rows.block(number)
    rows.block(5, mark=1, is_canonical=False)
    rows.scan(5, final=3)
    final, reverted, cancelled, mined, signed, queued = (
        rows.queue(key) for key in ("final", "reverted", "cancelled", "mined", "signed", "queued")
    )
    for number in (final, reverted, cancelled, mined, signed):
        rows.sign(number)
    rows.sign(cancelled, kind="cancel", attempt=2)
    rows.include(final, 1)
    rows.finish(final)
    rows.include(reverted, 2, status=0)
    rows.finish(reverted, "failed")
    rows.include(cancelled, 3)
    rows.finish(cancelled, "cancelled")
    rows.include(mined, 5)
    rows.observed()
    contract = rows.contract()
    rows.event(contract, 1, 0, "final")
    rows.event(contract, 5, 0, "observed")
    rows.event(contract, 5, 1, "orphaned", mark=1)
    assert (final, reverted, cancelled, mined, signed, queued) == (1, 2, 3, 4, 5, 6)
    return rows


@pytest.mark.parametrize("table", TABLES)
def test_tables_have_the_columns_of_the_page(full, table):
    """chain 1: each table and view of section 2 has every column that the page names."""
    found = {
        name
        for (name,) in full.rows(
            "SELECT attname::text FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
            " AND NOT attisdropped",
            f"tally.{table}",
        )
    }
    assert set(TABLES[table].split()) - found == set()
    if SPEC.exists():
        page = SPEC.read_text()
        unnamed = {name for name in TABLES[table].split() if not re.search(rf"\b{name}\b", page)}
        assert unnamed == set()


def test_indexes_and_claims_of_the_page(full):
    """chain 1: the indexes that earlier users know, and the claims, exist by their names."""
    indexes = {name for (name,) in full.rows("SELECT indexname::text FROM pg_indexes")}
    assert set(INDEXES) - indexes == set()
    claims = {
        name
        for (name,) in full.rows(
            "SELECT conname::text FROM pg_constraint"
            " WHERE conrelid = 'tally.blockchain_transactions'::regclass"
        )
    }
    assert set(CLAIMS) - claims == set()


def test_shipped_networks_and_types(database_url):
    """chain 1: the networks and transaction types that section 2 lists are there, paused."""
    with psycopg.connect(database_url) as connection:
        rows = ChainRows(connection)
        networks = rows.rows(
            "SELECT chain_id, confirmations, finality_mode, status, has_l1_fee FROM tally.networks"
        )
        types = rows.rows("SELECT name FROM tally.blockchain_transaction_types")
    assert {chain: (depth, mode) for chain, depth, mode, *_ in networks} == SHIPPED
    assert {status for *_, status, _ in networks} == {"paused"}
    assert {chain for chain, *_, has_fee in networks if has_fee} == {10, 8453, 84532, 11155420}
    assert {name for (name,) in types} >= set(TYPES)


def test_no_violations_where_all_is_well(full):
    """chain 1: `v_chain_violations` is empty after each kind of outcome."""
    assert full.rows("SELECT law, detail FROM tally.v_chain_violations") == []


DAMAGES = {
    "included_block_is_canonical": (
        "UPDATE tally.chain_blocks SET is_canonical = false WHERE block_number = 2",
        "transaction 2",
    ),
    "included_block_has_its_number": (
        "UPDATE tally.blockchain_transactions SET block_number = 2 WHERE id = 1",
        "transaction 1",
    ),
    "included_block_is_scanned": (
        "UPDATE tally.networks SET scanned_block = 4, scanned_hash = "
        f"'{hash_of(4001)}' WHERE chain_id = 31337",
        "transaction 4",
    ),
    "final_is_below_finality": (
        "UPDATE tally.networks SET finalized_block = 2 WHERE chain_id = 31337",
        "transaction 3",
    ),
    "outcome_is_of_the_receipt": (
        "UPDATE tally.blockchain_transactions SET receipt_status = 0 WHERE id = 1",
        "transaction 1",
    ),
    "price_is_of_the_coin": ("UPDATE tally.price_snapshots SET symbol = 'BNB'", "transaction 4"),
    "cost_is_fee_at_price": (
        "UPDATE tally.blockchain_transactions SET gas_price = gas_price * 1000000 WHERE id = 2",
        "transaction 2",
    ),
    "digest_is_of_the_intent": (
        "UPDATE tally.blockchain_transactions SET value_transferred = 1 WHERE id = 6",
        "transaction 6",
    ),
    "managed_is_of_our_account": (
        f"UPDATE tally.blockchain_transactions SET from_address = '0x{'cc' * 20}' WHERE id = 5",
        "transaction 5",
    ),
    "nonce_was_given": ("UPDATE tally.chain_accounts SET next_nonce = 4", "transaction 5"),
    "hash_is_of_an_attempt": (
        f"UPDATE tally.blockchain_transactions SET transaction_hash = '{hash_of(99)}' WHERE id = 5",
        "transaction 5",
    ),
    "attempts_count_from_one": (
        "UPDATE tally.blockchain_transaction_attempts SET attempt = 3 WHERE attempt = 2",
        "transaction 3",
    ),
    "attempt_is_of_its_transaction": (
        "UPDATE tally.blockchain_transaction_attempts SET transaction_id = 99"
        " WHERE transaction_id = 5",
        "transaction 99",
    ),
    "hash_serves_once": (
        "UPDATE tally.blockchain_transactions SET transaction_hash = (SELECT a.transaction_hash"
        " FROM tally.blockchain_transaction_attempts AS a"
        " WHERE a.transaction_id = 3 AND a.attempt = 1) WHERE id = 7",
        "transaction 7",
    ),
    "event_follows_its_block": (
        "UPDATE tally.contract_events SET state = 'observed' WHERE state = 'orphaned'",
        f"event 1 of block {hash_of(5002)}",
    ),
    "event_block_has_its_number": (
        "UPDATE tally.contract_events SET block_number = 4 WHERE state = 'observed'",
        f"event 0 of block {hash_of(5001)}",
    ),
    "event_finality_is_its_blocks": (
        "UPDATE tally.contract_events SET state = 'final' WHERE state = 'observed'",
        f"event 0 of block {hash_of(5001)}",
    ),
    "event_is_of_its_network": (
        "UPDATE tally.contract_deployments SET chain_id = 1",
        f"event 0 of block {hash_of(1001)}",
    ),
    "blocks_are_linked": (
        f"UPDATE tally.chain_blocks SET parent_hash = '{hash_of(9)}' WHERE block_number = 3",
        f"block {hash_of(3001)}",
    ),
    "position_is_on_the_chain": (
        f"UPDATE tally.networks SET scanned_hash = '{hash_of(9)}' WHERE chain_id = 31337",
        "network 31337",
    ),
    "nothing_is_above_the_position": (
        "UPDATE tally.networks SET scanned_block = NULL, scanned_hash = NULL,"
        " finalized_block = NULL, finalized_time = NULL WHERE chain_id = 31337",
        f"block {hash_of(5001)}",
    ),
    "active_has_a_price": (
        "UPDATE tally.networks SET native_symbol = 'XYZ' WHERE chain_id = 31337",
        "network 31337",
    ),
}


def test_violations_name_each_damaged_row(full):
    """chain 1: whatever row the owner damages with triggers disabled, its law names it."""
    laws = set(
        re.findall(
            r"'([a-z_]+)'::text AS law|'([a-z_]+)'::text(?: AS \"?\?column\?\"?)?,\s*\n?\s*format",
            full.run("SELECT pg_get_viewdef('tally.v_chain_violations'::regclass)"),
        )
    )
    assert {name or other for name, other in laws} == set(DAMAGES)
    for law, (damage, subject) in DAMAGES.items():
        with full.connection.transaction(force_rollback=True):
            for table in TABLES:
                if not table.startswith("v_"):
                    full.run(f"ALTER TABLE tally.{table} DISABLE TRIGGER ALL")
            full.run(damage)
            found = full.rows("SELECT detail FROM tally.v_chain_violations WHERE law = %s", law)
            assert any(re.search(rf"{subject}\b", detail) for (detail,) in found), (law, found)
    assert full.rows("SELECT law, detail FROM tally.v_chain_violations") == []


def spec_transitions() -> set[tuple[str, str | None, str, str]]:
    """Section 3 of the page: (table, from, to, function)."""
    text = SPEC.read_text()
    found: set[tuple[str, str | None, str, str]] = set()
    for line in text.partition("### 3.1")[2].partition("### 3.2")[0].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and cells[2].startswith("`"):
            for before in cells[0].split(", "):
                found.add(("blockchain_transactions", none(before), cells[1], cells[2].strip("`")))
    rest = text.partition("### 3.2")[2].partition("### 3.3")[0]
    change = r"(-|[a-z]+(?:, [a-z]+)*) (<?->) ([a-z]+) \(`([a-z0-9_]+)`"
    for sources, arrow, after, function in re.findall(change, rest):
        for before in sources.split(", "):
            found.add(("networks", none(before), after, function))
            if arrow == "<->":
                found.add(("networks", after, before, function))
    return found


def none(word: str) -> str | None:
    """`-` is birth."""
    return None if word == "-" else word


@pytest.mark.skipif(
    not SPEC.exists(), reason="the specification's pages are not beside the project"
)
def test_transitions_are_those_of_the_specification(full):
    """chain 2: section 3 of the page equals `tally.status_transitions`, functions included."""
    stored = set(
        full.rows(
            "SELECT table_name, from_status, to_status, function_name FROM tally.status_transitions"
            " WHERE table_name IN ('blockchain_transactions', 'networks', 'contract_events')"
        )
    )
    events = {
        ("contract_events", None, "observed", "chain_advance_v1"),
        ("contract_events", "observed", "final", "chain_advance_v1"),
        ("contract_events", "observed", "orphaned", "chain_reorg_v1"),
        ("contract_events", "orphaned", "observed", "chain_advance_v1"),
    }
    assert stored == spec_transitions() | events


@pytest.mark.parametrize("table", STATES)
def test_every_other_transition_is_refused(full, table):
    """chain 2: a pair of states that is no row of status_transitions is TS001, a birth too."""
    column, states = STATES[table]
    legal = set(
        full.rows(
            "SELECT from_status, to_status FROM tally.status_transitions WHERE table_name = %s",
            table,
        )
    )
    illegal = [
        pair
        for pair in itertools.product([None, *states], states)
        if pair not in legal and pair[0] != pair[1]
    ]
    assert illegal
    with full.connection.transaction(force_rollback=True):
        for (claim,) in full.rows(
            "SELECT conname::text FROM pg_constraint"
            " WHERE conrelid = %s::regclass AND contype = 'c'",
            f"tally.{table}",
        ):
            full.run(f"ALTER TABLE tally.{table} DROP CONSTRAINT {claim}")
        for before, after in illegal:
            with pytest.raises(psycopg.Error) as raised, full.connection.transaction():
                if before is None:
                    insert_copy(full, table, column, after)
                else:
                    full.run(f"ALTER TABLE tally.{table} DISABLE TRIGGER USER")
                    full.run(f"UPDATE tally.{table} SET {column} = '{before}'")
                    full.run(f"ALTER TABLE tally.{table} ENABLE TRIGGER USER")
                    full.run("SET LOCAL ROLE tally_owner")
                    full.run(f"UPDATE tally.{table} SET {column} = '{after}'")
            assert isinstance(translate(raised.value), IllegalTransitionError), (before, after)


def insert_copy(rows: ChainRows, table: str, column: str, state: str) -> None:
    """Insert one of the table's rows again in *state*; the guard looks before any key does."""
    names = ", ".join(
        name
        for (name,) in rows.rows(
            "SELECT quote_ident(attname) FROM pg_attribute"
            " WHERE attrelid = %s::regclass AND attnum > 0 AND attgenerated = '' AND attname <> %s",
            f"tally.{table}",
            column,
        )
    )
    rows.run(
        f"INSERT INTO tally.{table} ({names}, {column}) OVERRIDING SYSTEM VALUE"
        f" SELECT {names}, '{state}' FROM tally.{table} LIMIT 1"
    )


@pytest.mark.parametrize(
    ("state", "receipt_status", "status"),
    [
        ("queued", None, "pending"),
        ("broadcast", None, "pending"),
        ("mined", 1, "pending"),
        ("mined", 0, "failed"),
        ("confirmed", 1, "success"),
        ("confirmed", 0, "failed"),
        ("finalized", 1, "success"),
        ("cancelled", 1, "failed"),
        ("dropped", None, "failed"),
    ],
)
def test_status_is_of_state_and_receipt(full, state, receipt_status, status):
    """The three words of earlier users follow from state and receipt."""
    with full.connection.transaction(force_rollback=True):
        for (claim,) in full.rows(
            "SELECT conname::text FROM pg_constraint WHERE contype = 'c'"
            " AND conrelid = 'tally.blockchain_transactions'::regclass"
        ):
            full.run(f"ALTER TABLE tally.blockchain_transactions DROP CONSTRAINT {claim}")
        full.run("ALTER TABLE tally.blockchain_transactions DISABLE TRIGGER ALL")
        full.run(
            "UPDATE tally.blockchain_transactions SET state = %s, receipt_status = %s WHERE id = 6",
            state,
            receipt_status,
        )
        found = full.run("SELECT status FROM tally.blockchain_transactions WHERE id = 6")
    assert found == status


def test_fees_are_exact_from_one_wei_to_2_200(chain_rows):
    """chain 12: the fee in coins is the fee in wei, digit by digit, at 1 wei and at 2^200."""
    chain_rows.block(1)
    chain_rows.scan(1)
    for place, (gas_used, gas_price, l1_fee) in enumerate(
        [(1, 1, 0), (1, 2**200, 0), (21_000, 2**200 + 1, 2**200 - 1), (3, 0, 7)]
    ):
        number = chain_rows.queue(f"fee {place}")
        chain_rows.sign(number)
        chain_rows.include(number, 1, gas_used=gas_used, gas_price=gas_price)
        chain_rows.run(
            "UPDATE tally.blockchain_transactions SET l1_fee_wei = %s WHERE id = %s", l1_fee, number
        )
        fee, coins = chain_rows.rows(
            "SELECT fee_wei, transaction_fee FROM tally.blockchain_transactions WHERE id = %s",
            number,
        )[0]
        assert int(fee) == gas_used * gas_price + l1_fee
        with localcontext() as context:
            context.prec = 100
            assert coins * 10**18 == fee


def test_costs_are_half_even(chain_rows):
    """chain 12: a cost is rounded half to even at 8 decimals, against exact arithmetic."""
    random = Random(12)
    fees = [random.randrange(10 ** random.randrange(1, 24)) for _ in range(2_000)]
    usd = [Decimal(random.randrange(1, 10**13)).scaleb(-8) for _ in fees]
    # Exact halves do not come by chance: k + 1/2 units of 10^-8 at a price of 1.
    fees += [(2 * k + 1) * 5 * 10**9 for k in range(500)]
    usd += [Decimal(1)] * 500
    found = chain_rows.rows(
        "SELECT tally.cost_usd(f, u) FROM unnest(%s::numeric[], %s::numeric[]) AS t (f, u)",
        fees,
        usd,
    )
    with localcontext() as context:
        context.prec = 100
        expected = [
            (Decimal(fee) * price / 10**18).quantize(Decimal("1e-8"), ROUND_HALF_EVEN)
            for fee, price in zip(fees, usd, strict=True)
        ]
    assert [cost for (cost,) in found] == expected


def test_a_cost_that_no_column_holds_is_its_greatest_value(chain_rows):
    """chain 12: no block is skipped because a fee costs more than a column can say."""
    assert chain_rows.run("SELECT tally.cost_usd((2::numeric)^200, 1)") == Decimal(
        "999999999999.99999999"
    )


@pytest.mark.parametrize(
    "change",
    [
        "error_message = 'otherwise'",
        "metadata = '{\"a\": 1}'",
        "cost_usd = 0",
        "finalized_at = now()",
        "gas_used = 1",
    ],
)
def test_final_facts_never_change(full, change):
    """A final transaction refuses every change (TS002), the owner's too."""
    for number in (1, 2, 3):
        with pytest.raises(psycopg.Error) as raised, full.connection.transaction():
            full.run("SET LOCAL ROLE tally_owner")
            full.run(f"UPDATE tally.blockchain_transactions SET {change} WHERE id = {number}")
        assert isinstance(translate(raised.value), AppendOnlyError)


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("blockchain_transactions", "call_data = 'other'"),
        ("blockchain_transactions", "idempotency_key = 'other'"),
        ("blockchain_transactions", "from_address = to_address"),
        ("blockchain_transaction_attempts", "raw = 'other'"),
        ("blockchain_transaction_attempts", "kind = 'cancel'"),
        ("price_snapshots", "usd = 1"),
        ("contract_deployments", "code_hash = sha256('other')"),
        ("contract_events", "args = '{}'"),
        ("chain_blocks", "block_time = now()"),
        ("networks", "chain_id = 7"),
        ("chain_accounts", "address = '0x0000000000000000000000000000000000000000'"),
    ],
)
def test_what_was_recorded_stays(full, table, change):
    """What was asked for, signed, seen or priced is never changed, nor is a row removed (TS002)."""
    for statement in (f"UPDATE tally.{table} SET {change}", f"TRUNCATE tally.{table} CASCADE"):
        with pytest.raises(psycopg.Error) as raised, full.connection.transaction():
            full.run("SET LOCAL ROLE tally_owner")
            full.run(statement)
        assert isinstance(translate(raised.value), AppendOnlyError)


@pytest.mark.parametrize("table", [name for name in TABLES if not name.startswith("v_")])
def test_the_server_writes_through_functions_alone(full, table):
    """chain 1: the server's role has no INSERT, UPDATE or DELETE on the chain's tables."""
    for right in ("INSERT", "UPDATE"):
        assert not full.run(
            "SELECT has_any_column_privilege('tally_app', %s, %s)", f"tally.{table}", right
        )
    for right in ("DELETE", "TRUNCATE"):
        assert not full.run(
            "SELECT has_table_privilege('tally_app', %s, %s)", f"tally.{table}", right
        )


def test_readers_see_the_chain_and_not_whom_it_is_for(full):
    """chain 22: a reader may read transactions and sums, and neither users nor challenges."""
    hidden = [
        *((name, "blockchain_transactions") for name in ("user_id", "challenge_id")),
        *((name, "blockchain_transactions") for name in ("idempotency_key", "metadata")),
        ("raw", "blockchain_transaction_attempts"),
        ("signer_name", "chain_accounts"),
    ]
    with full.connection.transaction(force_rollback=True):
        full.run("SET LOCAL ROLE tally_reader")
        assert full.rows("SELECT tx_count FROM tally.v_blockchain_tx_summary")
        assert len(full.rows("SELECT id, state, fee_wei FROM tally.blockchain_transactions")) == 7
        for column, table in hidden:
            with (
                pytest.raises(psycopg.errors.InsufficientPrivilege),
                full.connection.transaction(),
            ):
                full.run(f"SELECT {column} FROM tally.{table}")


@pytest.mark.parametrize(
    ("key", "statement"),
    [
        ("nonce_has_one_transaction", "nonce = 0, transaction_hash = '{other}', state = 'signed'"),
        ("nonce_iff_signed", "state = 'signed'"),
        ("mined_has_block", "block_number = 1"),
        ("priced_iff_included", "cost_usd = 1"),
        ("confirmed_has_time", "confirmed_at = now()"),
        ("finalized_has_time", "finalized_at = now()"),
        ("failure_has_message", "state = 'failed'"),
        ("only_signed_are_asked", "asked = 'bump'"),
        ("l1_fee_is_of_a_receipt", "l1_fee_wei = 1"),
    ],
)
def test_claims_hold(full, key, statement):
    """Each claim about a transaction's columns refuses the row that breaks it."""
    change = statement.format(other=hash_of(55))
    with pytest.raises(psycopg.errors.IntegrityError) as raised:
        full.run(f"UPDATE tally.blockchain_transactions SET {change} WHERE id = 6")
    assert raised.value.diag.constraint_name == key


def test_large_chain_ids_pass(database_url):
    """chain 20: the dev chain's id, beyond 2^31, passes every table and function unchanged."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        rows = ChainRows(connection, chain_id=131277322940537).open()
        rows.block(1)
        rows.scan(1)
        number = rows.queue("dev")
        rows.sign(number)
        rows.include(number, 1, gas_used=1, gas_price=1)
        rows.finish(number)
        rows.event(rows.contract(), 1, 0, "final")
        tables = [name for name in TABLES if name not in ("v_chain_violations", "price_snapshots")]
        for table in set(tables) - {"blockchain_transaction_types"}:
            found = rows.run(f"SELECT count(*) FROM tally.{table} WHERE chain_id = 131277322940537")
            assert found == 1, table
        assert rows.run("SELECT total_fee_wei FROM tally.v_blockchain_tx_summary") == 1
        assert rows.rows("SELECT law FROM tally.v_chain_violations") == []
        assert rows.run("SELECT status FROM tally.networks WHERE chain_id = %s", CHAIN) == "paused"
        assert OURS == rows.run("SELECT address FROM tally.chain_accounts")

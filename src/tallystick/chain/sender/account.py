"""
The sender of one account: from intents to bytes that a node has (chain.md, section 4.3).

A round reads what is open, sends what is signed and not sent, tends what waits too long, and
signs what is queued. No node is asked inside a database transaction, and nothing is sent that
is not committed:

- before the commit of `sign` nothing has left this process: a crash leaves queued intents;
- after it a crash leaves bytes, which the next round sends;
- after the node took them a crash leaves `signed`: the next round sends the same bytes, and
  "already known" or a receipt says that they had arrived.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import structlog

from tallystick import metrics
from tallystick.chain.errors import InsufficientGasFundsError, NodeRefusedError
from tallystick.chain.node import Call, Node, format_data
from tallystick.chain.node.refusals import Refusal, classify
from tallystick.chain.sender import store
from tallystick.chain.sender.decision import (
    BATCH,
    MAX_UNMINED,
    Intent,
    Reverts,
    Runs,
    Unclear,
    Unmined,
    judge_estimate,
    kind_of_next,
    left_of,
    payable,
    replacement,
    rest_seconds,
    to_look_for,
    to_replace,
    to_requeue,
    unsigned,
)
from tallystick.chain.sender.fees import Fees, first_fees, replacement_fees
from tallystick.chain.sender.store import Account, Made, Place
from tallystick.chain.sender.surroundings import (
    Surroundings,
    cancel_call,
    estimate_calls,
    read_fate,
    read_surroundings,
)
from tallystick.chain.sender.transaction import SignedTransaction, UnsignedTransaction
from tallystick.chain.signers import Signer
from tallystick.chain.values import AttemptKind, TransactionId
from tallystick.chain.watcher.decision import poll_seconds
from tallystick.chain.watcher.delivery import tell_failed
from tallystick.chain.watcher.reconcile import reconcile_account
from tallystick.chain.watcher.store import read_transactions
from tallystick.db import Database, Transaction
from tallystick.pauses import pause_point
from tallystick.record import TransactionHash

SURROUNDINGS_SECONDS: Final = 1.0
"""How old fees, balance and nonce may be: no chain that we know changes them faster."""
MAX_ERROR: Final = 300
"""Characters that are kept of what a node said to a transaction."""

Sent = tuple[TransactionId, TransactionHash, bytes]
"""A transaction, the hash of an attempt at it, and its bytes."""

IDLE_SECONDS: Final = 1.0
"""How long an account rests that is gone, or whose network is halted."""

_log = structlog.get_logger(__name__)


class AccountSender:
    """Sends for one account; whoever runs it holds the account's lock."""

    def __init__(self, database: Database, node: Node, signer: Signer, account: Account) -> None:
        assert signer.address == account.address, "a signer signs for its own account"
        self._database = database
        self._node = node
        self._signer = signer
        self._chain_id = account.chain_id
        self._address = account.address
        self._strikes: dict[TransactionId, int] = {}
        self._overtaken: dict[TransactionId, int] = {}
        """Whose nonce is final and none of whose attempts has a receipt: at which final block."""
        self._refused_at: dict[TransactionHash, float] = {}
        """When a node refused bytes, or knew them: it is not asked again at once."""
        self._capped = 0
        """Transactions of this round that wait, because the chain asks more than we may offer."""
        self._surroundings: Surroundings | None = None
        self._surroundings_at = float("-inf")

    def catch_up(self) -> None:
        """
        Find out what the chain has of the account that the database forgot, before anything is
        sent: after a restore, or a foreign transaction, its next nonce lies below the chain's.

        Raises:
            UnsettledNonceError: A node's pool has transactions of the account that nobody knows.
            NodeUnavailableError, NodeRefusedError: The node gives no answer.
        """
        reconcile_account(self._database, self._node, self._chain_id, self._address)

    def round(self) -> float:
        """
        Do once what there is to do; return how many seconds the next round may wait unwoken.

        Raises:
            InsufficientGasFundsError: The balance is below the account's minimum, or too low
                for an intent; what is signed was sent all the same.
            NodeUnavailableError, NodeRefusedError: The node gives no answer.
            SigningFailedError: The signer gives no signature.
            FollowerFailed: A follower raised; the intents that it was told of stay queued.
        """
        with self._database.transaction(isolation="repeatable read", read_only=True) as tx:
            place = store.read_place(tx, self._chain_id, self._address)
            if place is None or place.status == "halted":
                return IDLE_SECONDS
            unmined = store.read_unmined(tx, self._chain_id, self._address)
            room = max(0, MAX_UNMINED - len(unmined))
            limit = min(room, BATCH)
            queued: list[Intent] = []
            if place.may_sign and limit:
                queued = store.read_queued(tx, self._chain_id, self._address, limit=limit)
        long_ago = time.monotonic() - poll_seconds(place.block_seconds)
        self._refused_at = {each: at for each, at in self._refused_at.items() if at > long_ago}
        unsent = [
            row
            for row in unmined
            if not row.is_sent and row.transaction_hash not in self._refused_at
        ]
        self._capped = 0
        if unsent:
            self._send_stored(unsent)
        if unmined:
            self._tend(place, unmined)
        done = self._sign(place, queued, unmined) if queued else 0
        metrics.CHAIN_FEE_CAPPED.labels(str(self._chain_id), self._address).set(self._capped)
        return rest_seconds(place.block_seconds, done=done, room=room)

    # New intents -------------------------------------------------------------------------------

    def _sign(self, place: Place, queued: Sequence[Intent], unmined: Sequence[Unmined]) -> int:
        """Sign, send or refuse what is queued; return how many of it are done with."""
        around = self._look_around(place)
        self._check_balance(place, around)
        fees = first_fees(around.suggestion, limit=place.max_fee_per_gas)
        if fees is None:
            self._capped += len(queued)
            return 0
        answers = self._node.batch(estimate_calls(self._address, queued))
        judged = [
            (intent, judge_estimate(answer)) for intent, answer in zip(queued, answers, strict=True)
        ]
        refused = [
            (intent.id, verdict) for intent, verdict in judged if isinstance(verdict, Reverts)
        ]
        runs = [(intent, verdict) for intent, verdict in judged if isinstance(verdict, Runs)]
        paid = payable(runs, fees, balance=left_of(around.balance, unmined))
        is_stored = not paid or self._sign_and_send(place, paid, fees)
        # Last, because followers are told: one that raises holds up nobody else.
        if refused:
            self._refuse(refused)
        if len(paid) < len(runs) or any(verdict is Unclear.FUNDS for _, verdict in judged):
            raise InsufficientGasFundsError("the account cannot pay for all of its intents")
        return len(refused) + (len(paid) if is_stored else 0)

    def _sign_and_send(self, place: Place, runs: Sequence[tuple[Intent, Runs]], fees: Fees) -> bool:
        made = self._make(
            [
                (
                    intent.id,
                    "send",
                    unsigned(
                        intent,
                        chain_id=self._chain_id,
                        nonce=place.next_nonce + index,
                        gas_limit=verdict.gas_limit,
                        fees=fees,
                    ),
                )
                for index, (intent, verdict) in enumerate(runs)
            ]
        )
        # A crash here leaves the intents queued: nobody has seen the bytes.
        pause_point("chain.sender.queued")
        with self._database.transaction() as tx:
            is_stored = store.sign(tx, self._chain_id, self._address, made)
        if not is_stored:
            # Somebody paused, cancelled or took the nonce: the next round reads anew.
            return False
        # A crash here leaves them signed: the next round sends the same bytes.
        pause_point("chain.sender.signed")
        self._send([(each.id, each.signed.hash, each.signed.raw) for each in made])
        return True

    def _refuse(self, refused: Sequence[tuple[TransactionId, Reverts]]) -> None:
        with self._database.transaction() as tx:
            self._tell_failed(tx, store.refuse(tx, refused))

    def _tell_failed(self, tx: Transaction, ids: Sequence[TransactionId]) -> None:
        failed = read_transactions(tx, set(ids)) if ids else {}
        for each in sorted(failed):
            tell_failed(tx, failed[each])

    # Sending -----------------------------------------------------------------------------------

    def _send_stored(self, rows: Sequence[Unmined]) -> None:
        hashes = [row.transaction_hash for row in rows]
        with self._database.transaction(read_only=True) as tx:
            raw = store.read_raw(tx, self._chain_id, hashes)
        self._send([(row.id, row.transaction_hash, raw[row.transaction_hash]) for row in rows])

    def _send(self, attempts: Sequence[Sent]) -> None:
        calls: list[Call] = [
            ("eth_sendRawTransaction", (format_data(raw),)) for _, _, raw in attempts
        ]
        answers = self._node.batch(calls)
        # A crash here leaves them signed, and the node with them: sent again it says that it
        # knows them, or the receipt is found.
        pause_point("chain.sender.sent")
        said: list[tuple[TransactionHash, str | None]] = []
        for (transaction_id, transaction_hash, _), answer in zip(attempts, answers, strict=True):
            error = None
            if isinstance(answer, NodeRefusedError):
                refusal = classify(answer)
                if refusal is Refusal.NONCE_TOO_LOW:
                    self._strike(transaction_id)
                else:
                    self._refused_at[transaction_hash] = time.monotonic()
                if refusal is not Refusal.ALREADY_KNOWN:
                    error = answer.said[:MAX_ERROR] or refusal.value
            said.append((transaction_hash, error))
        with self._database.transaction() as tx:
            store.broadcast(tx, self._chain_id, said)

    # What waits --------------------------------------------------------------------------------

    def _tend(self, place: Place, unmined: Sequence[Unmined]) -> None:
        """Replace what waits too long or was asked for, and find out what was overtaken."""
        known = {row.id for row in unmined}
        self._strikes = {each: n for each, n in self._strikes.items() if each in known}
        self._overtaken = {each: n for each, n in self._overtaken.items() if each in known}
        patience = place.resubmit_seconds
        if not self._strikes and not any(
            row.asked is not None or row.age_seconds >= patience for row in unmined
        ):
            return
        around = self._look_around(place)
        for row in unmined:
            # Mined, by us or by somebody else: the watcher says which, or the receipts do.
            if row.nonce < around.nonce and row.age_seconds >= patience:
                self._strike(row.id)
        looked_for = to_look_for(unmined, self._strikes)
        if looked_for:
            self._look_for(place, looked_for)
        if place.may_sign:
            waiting = to_replace(unmined, chain_nonce=around.nonce, resubmit_seconds=patience)
            self._replace(place, waiting, around)

    def _strike(self, transaction_id: TransactionId) -> None:
        self._strikes[transaction_id] = self._strikes.get(transaction_id, 0) + 1

    def _look_for(self, place: Place, rows: Sequence[Unmined]) -> None:
        """
        Put back whose nonce a foreign transaction took for good.

        A node may lack receipts of what it has mined, and a restored database attempts of what
        it has sent. So the watcher must have recorded the final block, with the hashes of its
        transactions, and the nonce's transaction is looked for on the chain before.
        """
        ids = [row.id for row in rows]
        with self._database.transaction(read_only=True) as tx:
            hashes = store.read_hashes(tx, ids)
        every = [each for of_one in hashes.values() for each in of_one]
        fate = read_fate(
            self._node, self._address, every, depth=place.depth, quorum=place.finality_quorum
        )
        for each in ids:
            self._strikes.pop(each, None)
        lost = to_requeue(rows, hashes, fate.found, final_nonce=fate.nonce)
        for each in lost:
            self._overtaken.setdefault(each, fate.block)
        watched = -1 if place.finalized_block is None else place.finalized_block
        taken = {each for each in lost if self._overtaken[each] <= watched}
        if taken:
            taken -= {*reconcile_account(self._database, self._node, self._chain_id, self._address)}
        if not taken:
            return
        _log.warning("chain.nonce_taken", rows=len(taken))
        with self._database.transaction() as tx:
            cancelled = store.requeue(
                tx, self._chain_id, self._address, sorted(taken), chain_nonce=fate.nonce
            )
            self._tell_failed(tx, cancelled)

    def _replace(self, place: Place, rows: Sequence[Unmined], around: Surroundings) -> None:
        offers: list[tuple[Unmined, AttemptKind, Fees]] = []
        capped: list[Unmined] = []
        for row in rows:
            fees = replacement_fees(row.fees, around.suggestion, limit=place.max_fee_per_gas)
            if fees is None:
                capped.append(row)
            else:
                offers.append((row, kind_of_next(row), fees))
        self._capped += len(capped)
        # Their bytes are as good as before: a node that has forgotten them gets them again.
        due = [row for row in capped if row.transaction_hash not in self._refused_at]
        if due:
            self._send_stored(due)
        if not offers:
            return
        cancel_gas = 0
        if any(kind == "cancel" and row.kind != "cancel" for row, kind, _ in offers):
            verdict = judge_estimate(self._node.batch([cancel_call(self._address)])[0])
            if not isinstance(verdict, Runs):
                raise InsufficientGasFundsError("the account cannot pay for a cancel")
            cancel_gas = verdict.gas_limit
        made = self._make(
            [
                (
                    row.id,
                    kind,
                    replacement(
                        row,
                        kind,
                        fees,
                        chain_id=self._chain_id,
                        address=self._address,
                        gas_limit=row.gas_limit if kind == row.kind else cancel_gas,
                    ),
                )
                for row, kind, fees in offers
            ]
        )
        with self._database.transaction() as tx:
            stored = store.replace(tx, self._chain_id, made)
        self._send(
            [
                (each.id, each.signed.hash, each.signed.raw)
                for each in made
                if each.signed.hash in stored
            ]
        )

    # What it asks of others --------------------------------------------------------------------

    def _make(
        self, wanted: Sequence[tuple[TransactionId, AttemptKind, UnsignedTransaction]]
    ) -> list[Made]:
        from tallystick.chain.signers.signature import transaction_hash  # noqa: PLC0415

        signatures = self._signer.sign([transaction.payload() for _, _, transaction in wanted])
        made = []
        for (transaction_id, kind, transaction), signature in zip(wanted, signatures, strict=True):
            raw = transaction.signed(signature)
            signed = SignedTransaction(transaction, raw, transaction_hash(raw))
            made.append(Made(transaction_id, kind, signed))
        return made

    def _look_around(self, place: Place) -> Surroundings:
        now = time.monotonic()
        if self._surroundings is None or now - self._surroundings_at > SURROUNDINGS_SECONDS:
            self._surroundings = read_surroundings(self._node, self._address, min_tip=place.min_tip)
            self._surroundings_at = now
            metrics.CHAIN_ACCOUNT_BALANCE_WEI.labels(str(self._chain_id), self._address).set(
                self._surroundings.balance
            )
        return self._surroundings

    def _check_balance(self, place: Place, around: Surroundings) -> None:
        if around.balance < place.minimum_balance:
            raise InsufficientGasFundsError(
                f"account {self._address} of chain {self._chain_id} has {around.balance} wei,"
                f" and its minimum is {place.minimum_balance}"
            )

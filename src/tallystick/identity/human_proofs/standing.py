"""What a stranger may ask of a wallet: whether it has proved something that counts now (6)."""

from __future__ import annotations

from tallystick.db import Transaction
from tallystick.identity.human_proofs import store
from tallystick.identity.human_proofs.proof import WalletStanding
from tallystick.identity.human_proofs.repository import HumanProofRules
from tallystick.identity.inputs import parse_wallet


def wallet_standing(tx: Transaction, wallet: str, rules: HumanProofRules) -> WalletStanding:
    """
    Return how a wallet stands now under the operator's *rules*; ask the primary, others decide
    by it.

    Who is a user is nobody else's matter: a wallet that is nobody's stands like one that has
    proved nothing. So does the wallet that a user took after he had proved another.

    Raises:
        InvalidAddressError: *wallet* is no address.
    """
    return store.wallet_standing(tx, parse_wallet(wallet), verifiers=rules.verifiers)

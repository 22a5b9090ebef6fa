"""What a stranger may ask of a wallet: whether it has proved something that counts now (6)."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Final

from tallystick.db import Transaction
from tallystick.identity.errors import NotFoundError
from tallystick.identity.human_proofs.repository import HumanProofRepository
from tallystick.identity.users import UserRepository

MAX_VALID: Final = 1000
"""Of a user's valid proofs so many are looked at: each lasts a day or more."""


@dataclass(frozen=True, slots=True)
class WalletStanding:
    """Whether a wallet has a valid proof, the assurance of its best one, and until when it is."""

    valid: bool
    assurance: int | None = None
    expires_at: datetime.datetime | None = None


def wallet_standing(tx: Transaction, wallet: str) -> WalletStanding:
    """
    Return how a wallet stands now; ask the primary, others decide by it.

    Who is a user is nobody else's matter: a wallet that is nobody's stands like one that has
    proved nothing.

    Raises:
        InvalidAddressError: *wallet* is no address.
    """
    try:
        user = UserRepository(tx).get_by_wallet(wallet)
    except NotFoundError:
        return WalletStanding(valid=False)
    page = HumanProofRepository(tx).list_by_user(user.id, valid_only=True, limit=MAX_VALID)
    if not page.items:
        return WalletStanding(valid=False)
    best = max(page.items, key=lambda proof: (proof.assurance or 0, proof.expires_at))
    return WalletStanding(valid=True, assurance=best.assurance, expires_at=best.expires_at)

"""Users, their risk and its history (identity.md, section 4.1)."""

from tallystick.identity.users.repository import UserRepository
from tallystick.identity.users.user import NewUser, RiskChange, RiskEntry, User, UserId

__all__ = ["NewUser", "RiskChange", "RiskEntry", "User", "UserId", "UserRepository"]

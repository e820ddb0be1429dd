"""Tokens, as the store remembers them. Import it from `krater.store.interfaces`."""

from datetime import datetime
from typing import Protocol


class Tokens(Protocol):
    """Tokens that were revoked before they expired."""

    def revoke(self, id: str, expires_at: datetime) -> None:
        """Idempotent. Also forgets revocations of tokens that have expired meanwhile."""

    def is_revoked(self, id: str) -> bool:
        """Whether it was."""
        ...

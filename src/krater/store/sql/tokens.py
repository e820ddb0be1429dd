"""Tokens that were revoked before they expired."""

from datetime import datetime

from sqlalchemy import bindparam, delete, insert, select

from krater.store.sql.link import Link
from krater.store.sql.tables import revoked_tokens as t

_ONE = select(t.c.id).where(t.c.id == bindparam("wanted"))
_EXPIRED = delete(t).where(t.c.expires_at < bindparam("before", type_=t.c.expires_at.type))


class SqlTokens:
    """Revocations."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def revoke(self, id: str, expires_at: datetime) -> None:
        """Remember it for as long as the token would be good."""
        self._link.run(_EXPIRED, {"before": self._link.now()})
        if not self.is_revoked(id):
            self._link.run(insert(t), {"id": id, "expires_at": expires_at})

    def is_revoked(self, id: str) -> bool:
        """Whether it was."""
        return self._link.row(_ONE, {"wanted": id}) is not None

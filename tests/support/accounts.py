"""An embedded identity in memory and a directory, cheap enough for tests that log in often."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from krater.cloud.local.accounts import Accounts, add_user, assign
from krater.cloud.local.accounts_file import AccountsFile
from krater.cloud.local.identity import LocalIdentity
from krater.cloud.local.passwords import Passwords
from krater.cloud.local.tokens import TokenKeys
from krater.config import IdentitySettings

T = TypeVar("T")


class CountingPasswords(Passwords):
    """Real argon2id with the least cost there is; counts what is checked."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8)
        self.checked = 0

    async def is_right(self, stored: str | None, password: str) -> bool:
        self.checked += 1
        return self._check(stored, password)  # not in a thread: virtual time would not wait for it


class Revocations:
    """The store's tokens, and no more of the store."""

    def __init__(self) -> None:
        self.tokens = self
        self.revoked: dict[str, datetime] = {}
        self.asked = 0

    def revoke(self, id: str, expires_at: datetime) -> None:
        self.revoked[id] = expires_at

    def is_revoked(self, id: str) -> bool:
        self.asked += 1
        return id in self.revoked

    async def read(self, fn: Callable[[Any], T]) -> T:
        return fn(self)

    async def write(self, fn: Callable[[Any], T]) -> T:
        return fn(self)

    async def close(self) -> None:
        pass


class Clock:
    """A time that stands still until it is moved."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def move(self, seconds: float) -> None:
        """Let time pass."""
        self.time += timedelta(seconds=seconds)


class Household:
    """An identity with `admin`, and `ann` who is a member of `kitchen` and reads in `cellar`."""

    def __init__(self, directory: Path) -> None:
        self.clock = Clock()
        self.passwords = CountingPasswords()
        self.store = Revocations()
        self.file = AccountsFile(directory / "accounts.yaml")
        self.file.edit(self._fill)
        self.keys = TokenKeys.load(directory / "token.keys")
        self.settings = IdentitySettings()
        self.identity = self.restarted()

    def restarted(self) -> LocalIdentity:
        """Another process over the same files and store."""
        return LocalIdentity(self.settings, self.file, self.keys, self.store, passwords=self.passwords, now=self.clock)

    def _fill(self, held: Accounts) -> Accounts:
        held = add_user(held, "admin", self.passwords.hash("top secret"), "admin", "admin")
        held = add_user(held, "ann", self.passwords.hash("pie"), "kitchen", "member")
        return assign(held, "ann", "cellar", "reader")

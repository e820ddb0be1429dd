"""Passwords: hashed with argon2id, checked off the event loop, a few at a time."""

import asyncio
import secrets
from functools import cached_property

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from krater.errors import Invalid, Unavailable

LONGEST = 1024
_ALPHABET = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
_RANDOM_LENGTH = 20


class Passwords:
    """Hashes and checks. One check costs about 30 ms of a core and 32 MiB, on purpose; a queue of them is bounded."""

    def __init__(
        self, *, time_cost: int = 3, memory_cost: int = 32 * 1024, at_once: int = 2, most_waiting: int = 100
    ) -> None:
        self._hasher = PasswordHasher(time_cost=time_cost, memory_cost=memory_cost, parallelism=1)
        self._slots = asyncio.Semaphore(at_once)
        self._waiting = 0
        self._most_waiting = most_waiting

    def hash(self, password: str) -> str:
        """For storing. Invalid when it is empty or absurdly long."""
        if not 1 <= len(password) <= LONGEST:
            raise Invalid(f"password: 1 to {LONGEST} characters are needed", field="password")
        return self._hasher.hash(password)

    async def is_right(self, stored: str | None, password: str) -> bool:
        """Whether it is the password of this hash. Without one (an unknown user) it takes as long and is false."""
        if self._waiting >= self._most_waiting:
            raise Unavailable("too many log-ins at once")
        self._waiting += 1
        try:
            async with self._slots:
                return await asyncio.to_thread(self._check, stored, password)
        finally:
            self._waiting -= 1

    def _check(self, stored: str | None, password: str) -> bool:
        try:
            self._hasher.verify(stored or self._nobodys, password)
        except (VerificationError, InvalidHashError):
            return False
        return stored is not None

    @cached_property
    def _nobodys(self) -> str:
        return self._hasher.hash(secrets.token_hex())


def random_password() -> str:
    """One that nobody guesses and that survives being copied from a terminal."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_LENGTH))

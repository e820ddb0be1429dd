"""Tokens: sealed with a key that only this Krater has, so that nothing is stored for one until it is revoked."""

import hashlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from krater.cloud.local.accounts_file import make_private_directory, replace_file
from krater.errors import Invalid, Unauthenticated

_LONGEST = 4096
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Token:
    """What is inside. `project` is "" for one without a scope; `fingerprint` is of the password's hash then."""

    id: str
    user: str
    project: str
    fingerprint: bytes
    methods: tuple[str, ...]
    issued_at: datetime
    expires_at: datetime


class _Sealed(msgspec.Struct, array_like=True, frozen=True):
    format: int
    id: str
    user: str
    project: str
    fingerprint: bytes
    methods: tuple[str, ...]
    issued_at: float
    expires_at: float


def fingerprint(password_hash: str) -> bytes:
    """A few bytes that change with the password: a token carries them, and ends with the password it was got for."""
    return hashlib.blake2b(password_hash.encode(), digest_size=8).digest()


class TokenKeys:
    """Seals and opens. The first key seals, all of them open: a new line on top of the file rotates it."""

    def __init__(self, keys: list[str]) -> None:
        self._fernet = MultiFernet([Fernet(key) for key in keys])

    @classmethod
    def load(cls, path: Path) -> "TokenKeys":
        """From a file, made at first use (0600). Invalid when it holds no proper keys."""
        if not path.exists():
            make_private_directory(path.parent)
            replace_file(path, Fernet.generate_key().decode() + "\n")
        elif path.stat().st_mode & 0o077:
            path.chmod(0o600)
        try:
            return cls(path.read_text().split())
        except ValueError as error:
            raise Invalid(f"{os.fspath(path)} does not hold keys for tokens: {error}") from error

    def seal(self, token: Token) -> str:
        """The text that is handed out."""
        sealed = _Sealed(
            _FORMAT,
            token.id,
            token.user,
            token.project,
            token.fingerprint,
            token.methods,
            token.issued_at.timestamp(),
            token.expires_at.timestamp(),
        )
        return self._fernet.encrypt(msgspec.msgpack.encode(sealed)).decode().rstrip("=")

    def open(self, text: str) -> Token:
        """The token in a text. Unauthenticated when it was not sealed here, or was changed. Says nothing of expiry."""
        refusal = Unauthenticated("the token is not valid")
        if len(text) > _LONGEST:
            raise refusal
        try:
            padded = text.encode("ascii") + b"=" * (-len(text) % 4)
            sealed = msgspec.msgpack.decode(self._fernet.decrypt(padded), type=_Sealed)
        except (InvalidToken, UnicodeEncodeError, msgspec.MsgspecError):
            raise refusal from None
        if sealed.format != _FORMAT:
            raise refusal
        return Token(
            sealed.id,
            sealed.user,
            sealed.project,
            sealed.fingerprint,
            sealed.methods,
            datetime.fromtimestamp(sealed.issued_at, UTC),
            datetime.fromtimestamp(sealed.expires_at, UTC),
        )

"""Secrets that have to be read again, such as passwords of registries: encrypted with keys of this installation.

The file holds one key a line. The first seals, all of them open. Whoever changes the keys keeps the one before (see
`add_key` and `drop_old_keys`): a process that had not looked yet may just be sealing with it.
"""

import os
from pathlib import Path

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from krater.cloud.local.accounts_file import make_private_directory, replace_file
from krater.errors import Invalid, Permanent

_KEPT = 2


class LocalVault:
    """Seals and opens, always with the keys that are in the file now."""

    def __init__(self, path: Path) -> None:
        """The file is made at first use (0600). Invalid when it holds no proper keys."""
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._keys: list[str] = []
        if not path.exists():
            make_private_directory(path.parent)
            replace_file(path, Fernet.generate_key().decode() + "\n")
        elif path.stat().st_mode & 0o077:
            path.chmod(0o600)
        self._fernet = self._load()

    def seal(self, owner: str, text: str) -> str:
        """A text as it may be stored. It opens for the same owner only."""
        return self._current().encrypt(msgspec.json.encode((owner, text))).decode()

    def open(self, owner: str, sealed: str) -> str:
        """The text. Permanent when it was sealed with a key that is gone, or for somebody else."""
        try:
            found, text = msgspec.json.decode(self._current().decrypt(sealed.encode()), type=tuple[str, str])
        except (InvalidToken, msgspec.MsgspecError):
            found, text = "", ""
        if found != owner:
            raise Permanent("A stored password cannot be read: it was encrypted with a key that is not there any more.")
        return text

    def add_key(self) -> None:
        """Seal with another key from now on."""
        self._current()
        self._replace([Fernet.generate_key().decode(), *self._keys])

    def drop_old_keys(self) -> None:
        """Forget all keys but the first and the one before."""
        self._current()
        self._replace(self._keys[:_KEPT])

    @property
    def is_changing(self) -> bool:
        """Whether a change of the key was begun and not ended."""
        self._current()
        return len(self._keys) > _KEPT

    def _replace(self, keys: list[str]) -> None:
        if keys != self._keys:
            replace_file(self._path, "".join(f"{key}\n" for key in keys))

    def _current(self) -> MultiFernet:
        found = self._path.stat()
        if (found.st_ino, found.st_mtime_ns, found.st_size) != self._seen:
            self._fernet = self._load()
        return self._fernet

    def _load(self) -> MultiFernet:
        found = self._path.stat()
        keys = self._path.read_text().split()
        try:
            fernet = MultiFernet([Fernet(key) for key in keys])
        except ValueError as error:
            raise Invalid(f"{os.fspath(self._path)} does not hold keys for secrets: {error}") from error
        self._seen, self._keys = (found.st_ino, found.st_mtime_ns, found.st_size), keys
        return fernet

"""The file that keeps the accounts: YAML, readable by its owner only, replaced whole.

Readers look whether the file is another one than they read last, twenty times a second at most: a changed password or a
removed user counts in every process before the command that changed it has ended. Editors take turns through a lock
file beside it.
"""

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog
import yaml

from krater.cloud.local.accounts import ROLES, AccountProject, Accounts, Assigned, User, checked_name
from krater.errors import Invalid, KraterError, Unavailable

_log = structlog.get_logger(__name__)

LOOK_EVERY = 0.05
_HEAD = "# Krater's accounts. `krater account` edits this file; editing it by hand works too.\n"


class AccountsFile:
    """One file of accounts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._accounts = Accounts()
        self._stamp: tuple[int, int, int] | None = None
        self._looked = 0.0

    def current(self) -> Accounts:
        """The accounts as they are. A file that cannot be read leaves the last good ones. Unavailable at first."""
        now = time.monotonic()
        if now - self._looked < LOOK_EVERY:
            return self._accounts
        try:
            stamp = _stamp(self.path)
            if stamp != self._stamp:
                self._accounts, self._stamp = parse(self.path.read_text()), stamp
        except (OSError, KraterError) as error:
            if self._stamp is None:
                raise Unavailable(f"the accounts cannot be read: {_text(error)}") from error
            _log.error("accounts cannot be read; the former ones stay valid", why=_text(error))
        self._looked = now
        return self._accounts

    def edit(self, change: Callable[[Accounts], Accounts]) -> Accounts:
        """Apply a change to what the file holds now (no accounts, when there is no file yet) and replace it."""
        make_private_directory(self.path.parent)
        with _locked(self.path.with_suffix(".lock")):
            held = parse(self.path.read_text()) if self.path.exists() else Accounts()
            changed = change(held)
            if changed != held:
                replace_file(self.path, _HEAD + yaml.safe_dump(_document(changed), sort_keys=False))
            self._looked = 0.0
        return changed


def make_private_directory(path: Path) -> None:
    """Have a directory; one that is made here is for its owner only."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def replace_file(path: Path, text: str) -> None:
    """Put a file in place of another so that a reader, or a crash, finds either the old one or the new one. 0600."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def parse(text: str) -> Accounts:
    """The accounts in a file's text. Invalid, naming what is wrong with it."""
    try:
        document = yaml.safe_load(text)
        accounts = Accounts(
            users=tuple(_user(item) for item in document.get("users") or ()),
            projects=tuple(
                AccountProject(_string(i, "id"), checked_name(_string(i, "name")))
                for i in document.get("projects") or ()
            ),
            roles=tuple(
                Assigned(_string(i, "user"), _string(i, "project"), _string(i, "role").lower())
                for i in document.get("roles") or ()
            ),
        )
    except (yaml.YAMLError, AttributeError, TypeError) as error:
        raise Invalid(f"accounts: not the expected YAML: {str(error)[:300]}") from error
    _check(accounts)
    return accounts


def _check(accounts: Accounts) -> None:
    for kind, items in (("users", accounts.users), ("projects", accounts.projects)):
        for key in ("id", "name"):
            values = [getattr(item, key) for item in items]
            if len(set(values)) != len(values):
                raise Invalid(f"accounts: two {kind} have the same {key}")
    for assigned in accounts.roles:
        if assigned.role not in ROLES:
            raise Invalid(f"accounts: {assigned.role!r} is none of the roles {', '.join(ROLES)}")


def _user(item: dict[str, Any]) -> User:
    name = checked_name(_string(item, "name"))
    return User(_string(item, "id"), name, _string(item, "password"), bool(item.get("enabled", True)))


def _string(item: dict[str, Any], key: str) -> str:
    value = item.get(key)
    if not isinstance(value, str) or not value:
        raise Invalid(f"accounts: an entry has no {key}, or one that is not text")
    return value


def _document(accounts: Accounts) -> dict[str, Any]:
    return {
        "users": [
            {"id": u.id, "name": u.name, "password": u.password} | ({} if u.enabled else {"enabled": False})
            for u in accounts.users
        ],
        "projects": [{"id": p.id, "name": p.name} for p in accounts.projects],
        "roles": [{"user": r.user, "project": r.project, "role": r.role} for r in accounts.roles],
    }


def _stamp(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino


def _text(error: Exception) -> str:
    return error.message if isinstance(error, KraterError) else str(error)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)

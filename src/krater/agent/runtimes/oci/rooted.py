"""Looking into a container's root filesystem with host rights, without following a tenant's links out of it."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from krater.agent.runtimes.oci.syscalls import open_in_root
from krater.errors import Permanent

FILE_LIMIT: Final = 1024 * 1024
_HIGHEST_ID: Final = 2**32 - 2


@dataclass(frozen=True, slots=True)
class User:
    """Who a container's process is."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/"


def find_user(root: str, wanted: str) -> User:
    """The user that an image asks for: `name`, `uid`, `name:group`, `uid:gid`, or "" for root."""
    name, _, group = wanted.partition(":")
    passwd = [f for f in _table(root, "/etc/passwd", 7) if _is_id(f[2]) and _is_id(f[3])]
    entry = next((f for f in passwd if f[0] == name or (f[2] == (name or "0"))), None)
    if entry is not None:
        uid, gid, home, known_as = int(entry[2]), int(entry[3]), entry[5] or "/", entry[0]
    elif name == "" or _is_id(name):
        uid, gid, home, known_as = int(name or "0"), 0, "/root" if name in ("", "0") else "/", ""
    else:
        raise Permanent(f"the image wants to run as user {name!r}, but has no such user in its /etc/passwd")
    table = [f for f in _table(root, "/etc/group", 4) if _is_id(f[2])]
    if group:
        return User(uid, _group(table, group), (), home)
    more = {int(f[2]) for f in table if known_as and known_as in f[3].split(",")} - {gid}
    return User(uid, gid, tuple(sorted(more)), home)


def _group(table: list[list[str]], wanted: str) -> int:
    for fields in table:
        if fields[0] == wanted:
            return int(fields[2])
    if _is_id(wanted):
        return int(wanted)
    raise Permanent(f"the image wants to run as group {wanted!r}, but has no such group in its /etc/group")


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= _HIGHEST_ID


def _table(root: str, path: str, fields: int) -> Iterator[list[str]]:
    for line in read_file(root, path).decode(errors="replace").splitlines():
        parts = line.split(":")
        if len(parts) >= fields:
            yield parts


def read_file(root: str, path: str, limit: int = FILE_LIMIT) -> bytes:
    """A regular file of the root filesystem, at most `limit` bytes of it; nothing when there is none."""
    base = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        descriptor = open_in_root(base, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return b""
    finally:
        os.close(base)
    with open(descriptor, "rb") as file:
        return file.read(limit) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""


def ensure_directory(root: str, path: str) -> None:
    """Have a directory in the root filesystem, as the working directory of an image must be made when it lacks."""
    base = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        made = ""
        for part in [p for p in path.split("/") if p not in ("", ".")]:
            _ensure_one(base, made, part, path)
            made = f"{made}/{part}"
    finally:
        os.close(base)


def _ensure_one(base: int, parent: str, part: str, whole: str) -> None:
    flags = os.O_PATH | os.O_DIRECTORY
    try:
        os.close(open_in_root(base, f"{parent}/{part}", flags))
    except FileNotFoundError:
        above = open_in_root(base, parent or "/", os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.mkdir(part, 0o755, dir_fd=above)
        except FileExistsError:  # a link to nowhere
            raise Permanent(f"the working directory {whole!r} cannot be made in the image") from None
        finally:
            os.close(above)
    except NotADirectoryError:
        raise Permanent(f"the working directory {whole!r} is not a directory in the image") from None
    except OSError as error:
        raise Permanent(f"the working directory {whole!r} cannot be used: {error.strerror}") from error

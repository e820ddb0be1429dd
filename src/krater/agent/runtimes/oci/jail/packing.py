"""From files to an archive. What is read may change meanwhile, and names may be anything: no link is ever followed.

No names of users and groups are looked up: their library would be the container's.
"""

import json
import os
import stat
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from krater.agent.runtimes.oci.jail.frames import STAT, Line, Pieces, Refused
from krater.agent.runtimes.oci.syscalls import open_in_root

DEEPEST: Final = 500
MOST_LINKS: Final = 200_000
_CHUNK: Final = 64 * 1024
_BLOCK: Final = 512
_FOLLOWED: Final = os.O_PATH | os.O_CLOEXEC
_KINDS: Final = {stat.S_IFDIR: tarfile.DIRTYPE, stat.S_IFLNK: tarfile.SYMTYPE, stat.S_IFIFO: tarfile.FIFOTYPE}

# As Go's os.FileMode has them, which is what clients of this API are told.
_GO_MODES: Final = (
    (stat.S_ISDIR, 1 << 31),
    (stat.S_ISLNK, 1 << 27),
    (stat.S_ISFIFO, 1 << 25),
    (stat.S_ISSOCK, 1 << 24),
    (stat.S_ISBLK, 1 << 26),
    (stat.S_ISCHR, 1 << 26 | 1 << 21),
)
_GO_BITS: Final = ((stat.S_ISUID, 1 << 23), (stat.S_ISGID, 1 << 22), (stat.S_ISVTX, 1 << 20))


def locate(path: str) -> tuple[int, str]:
    """The directory that has what is meant by a path, and its name there; "." for the directory itself.

    Links on the way are followed, but not one at the end, unless the path ends in a slash.
    """
    bare = path.rstrip("/")
    name = bare.rpartition("/")[2]
    whole = path.endswith("/") or name in ("", ".", "..")
    root = os.open("/", os.O_PATH | os.O_DIRECTORY)
    try:
        if whole:
            return open_in_root(root, path or "/", _FOLLOWED | os.O_DIRECTORY), "."
        return open_in_root(root, bare.rpartition("/")[0] or "/", _FOLLOWED | os.O_DIRECTORY), name
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Refused("not-found", f"There is no {'directory ' if whole else ''}{path} in the container.") from error
    except OSError as error:
        raise Refused("invalid", f"{path}: {error.strerror}.") from error
    finally:
        os.close(root)


def pack(path: str, pieces: Pieces, line: Line) -> None:
    """Tell what is at `path`, then send it and everything below it."""
    parent, name = locate(path)
    try:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except (FileNotFoundError, OSError) as error:
        raise Refused("not-found", f"There is no {path} in the container.") from error
    target = os.readlink(name, dir_fd=parent) if stat.S_ISLNK(found.st_mode) else ""
    shown = name if name != "." else os.path.basename(path.rstrip("/").removesuffix("/.")) or "/"
    line.send(STAT, json.dumps(described(shown, found, target)).encode())
    top = shown if shown not in ("/", ".", "..") else "."
    Packer(pieces).add(parent, name, top)


def described(name: str, found: os.stat_result, target: str) -> dict[str, object]:
    """A file in the API's words."""
    mode = stat.S_IMODE(found.st_mode) & 0o777
    mode |= sum(bit for is_so, bit in _GO_MODES if is_so(found.st_mode))
    mode |= sum(bit for ours, bit in _GO_BITS if found.st_mode & ours)
    return {
        "name": _printable(name),
        "size": found.st_size,
        "mode": mode,
        "mtime": _moment(found.st_mtime),
        "linkTarget": _printable(target),
    }


def _printable(text: str) -> str:
    return os.fsencode(text).decode("utf-8", "replace")


def _moment(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return "1970-01-01T00:00:00Z"


class Packer:
    """Writes one archive."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces
        self._linked: dict[tuple[int, int], str] = {}

    def add(self, parent: int, name: str, shown: str) -> None:
        """A file, or a directory with all that is in it; and the end mark."""
        waiting = [self._one(parent, name, shown)]
        while waiting:
            below = next(waiting[-1], None)
            if below is None:
                waiting.pop()
            else:
                waiting.append(below)
                if len(waiting) > DEEPEST:
                    raise Refused("invalid", f"The directories are nested more than {DEEPEST} levels deep.")
        self._pieces.write(bytes(2 * _BLOCK))

    def _one(self, parent: int, name: str, shown: str) -> Iterator[Iterator]:  # type: ignore[type-arg]
        """Write one member; yields the same for each that is in it."""
        try:
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:  # gone since its directory was read
            return
        member = self._member(found, shown)
        if stat.S_ISDIR(found.st_mode):
            yield from self._directory(parent, name, member)
        elif stat.S_ISREG(found.st_mode):
            self._file(parent, name, member, found)
        elif stat.S_ISLNK(found.st_mode):
            member.linkname = os.readlink(name, dir_fd=parent)
            self._header(member)
        elif stat.S_ISFIFO(found.st_mode):
            self._header(member)

    def _directory(self, parent: int, name: str, member: tarfile.TarInfo) -> Iterator[Iterator]:  # type: ignore[type-arg]
        try:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(name, flags, dir_fd=parent)
        except (FileNotFoundError, NotADirectoryError, OSError):  # it is something else now
            return
        self._header(member)
        try:
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    yield self._one(descriptor, entry.name, f"{member.name}/{entry.name}")
        finally:
            os.close(descriptor)

    def _file(self, parent: int, name: str, member: tarfile.TarInfo, found: os.stat_result) -> None:
        identity = (found.st_dev, found.st_ino)
        if identity in self._linked:
            member.type, member.linkname = tarfile.LNKTYPE, self._linked[identity]
            self._header(member)
            return
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            descriptor = os.open(name, flags, dir_fd=parent)
        except OSError:  # it is something else now
            return
        with open(descriptor, "rb", buffering=0):
            now = os.fstat(descriptor)
            if not stat.S_ISREG(now.st_mode):
                return
            if found.st_nlink > 1 and len(self._linked) < MOST_LINKS:
                self._linked[identity] = member.name
            member.size = now.st_size
            self._header(member)
            self._content(descriptor, member.size)

    def _content(self, descriptor: int, size: int) -> None:
        """Exactly `size` bytes: a file that shrinks meanwhile ends in zeros, one that grows is cut."""
        left = size
        while left:
            data = os.read(descriptor, min(_CHUNK, left))
            if not data:
                data = bytes(min(_CHUNK, left))
            left -= len(data)
            self._pieces.write(data)
        self._pieces.write(bytes(-size % _BLOCK))

    def _member(self, found: os.stat_result, shown: str) -> tarfile.TarInfo:
        member = tarfile.TarInfo(shown)
        member.type = _KINDS.get(stat.S_IFMT(found.st_mode), tarfile.REGTYPE)
        member.mode = stat.S_IMODE(found.st_mode)
        member.uid, member.gid = found.st_uid, found.st_gid
        member.mtime = int(found.st_mtime)
        return member

    def _header(self, member: tarfile.TarInfo) -> None:
        self._pieces.write(member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))

"""Files that come out of a container, onto this machine. What is in the archive is the container's word, so nothing is
ever written outside the destination: no name leads up, no link on the way is followed, and special files are refused.
"""

import os
import stat
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any, Protocol, cast

from krater.client.errors import BadArchive, ClientError

_CHUNK = 256 * 1024
_BUFFER = 64 * 1024
_LARGEST_HEADER = 1 << 20
_LONGEST, _DEEPEST, _LATEST, _SHOWN = 4095, 500, 2**40, 100
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_EXTENSIONS = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE)


class Source(Protocol):
    """Where an archive comes from."""

    def read(self, most: int, /) -> bytes:
        """Some more bytes, none at the end."""


class _Member(tarfile.TarInfo):
    """A header that the library must not take for the end, nor read into memory whole."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Member":
        try:
            found = super().frombuf(buf, encoding, errors)
        except (tarfile.EOFHeaderError, tarfile.EmptyHeaderError):  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError:
            raise BadArchive("What came is no tar archive, or a damaged one.") from None
        if found.size < 0 or (found.type in _EXTENSIONS and found.size > _LARGEST_HEADER):
            raise BadArchive("What came is a damaged archive.")
        return found


def unpack(source: Source, directory: str, name: str | None, *, has_top: bool = True, owners: bool = False) -> None:
    """Unpack into an existing directory. `name` replaces the first part of all names (or comes before it, when there
    is none that all share: not `has_top`); None drops it, which leaves what is in a directory. Owners are kept if
    `owners`, else everything belongs to who runs this; then no program made to run as its owner does so here.
    """
    with _blaming():
        archive = tarfile.open(  # noqa: SIM115 -- there is nothing of its own to close
            None, "r|", cast(Any, source), _BUFFER, tarinfo=_Member, encoding="utf-8", errors="surrogateescape"
        )
    base = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    unpacking = _Unpacking(base, owners)
    try:
        while (member := _next(archive)) is not None:
            archive.members.clear()  # type: ignore[attr-defined]
            _check(member)
            parts = _renamed(_parts(member.name), name, has_top)
            target = _renamed(_parts(member.linkname), name, has_top) if member.islnk() else []
            unpacking.add(archive, member, parts, target)
        while source.read(_CHUNK):  # the padding after the end mark
            pass
    finally:
        unpacking.close()
        os.close(base)


def _next(archive: tarfile.TarFile) -> tarfile.TarInfo | None:
    with _blaming():
        return archive.next()


@contextmanager
def _blaming() -> Iterator[None]:
    """Whatever the library stumbles over, the archive is to blame."""
    try:
        yield
    except (ClientError, OSError, MemoryError):
        raise
    except Exception as error:
        raise BadArchive("What came is a damaged archive, or only a part of one.") from error


def _check(member: tarfile.TarInfo) -> None:
    if member.issparse() or not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
        raise BadArchive(f"{member.name!a} is neither a file nor a directory nor a link: it is not copied.")
    if not -_LATEST < member.mtime < _LATEST:
        raise BadArchive(f"The archive says that {member.name!a} was changed at a time that cannot be.")
    if member.size < 0 or (member.issym() and not member.linkname) or "\0" in member.linkname:
        raise BadArchive(f"The archive says what cannot be of {member.name!a}.")


def _parts(name: str) -> list[str]:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or not set(name).isdisjoint("\0\n"):
        raise BadArchive(f"{name!a} is a name that could lead out of the destination: it is not copied.")
    if len(name) > _LONGEST or len(parts) > _DEEPEST:
        raise BadArchive(f"{name[:_SHOWN]!a}… is nested too deeply: it is not copied.")
    return parts


def _renamed(parts: list[str], name: str | None, has_top: bool) -> list[str]:
    """What was asked for is called as is wanted here, whatever the archive calls it."""
    rest = parts[1:] if has_top else parts
    return rest if name is None else [name, *rest]


def _content(file: IO[bytes]) -> bytes:
    with _blaming():
        return file.read(_CHUNK)


class _Unpacking:
    def __init__(self, base: int, owners: bool) -> None:
        self._base, self._owners = base, owners
        self._open: list[tuple[str, int, tarfile.TarInfo | None]] = []

    def add(self, archive: tarfile.TarFile, member: tarfile.TarInfo, parts: list[str], target: list[str]) -> None:
        """One member."""
        try:
            if member.isdir():
                self._enter(parts)
                if parts:
                    self._open[-1] = (*self._open[-1][:2], member)
            elif not parts:
                raise BadArchive(f"{member.name!a} is a file where a directory was expected.")
            else:
                self._place(archive, member, self._enter(parts[:-1]), parts[-1], target)
        except NotADirectoryError as error:
            raise BadArchive(
                f"{member.name!a}: a part of its path is a file or a link here; links are not followed."
            ) from error

    def close(self) -> None:
        """Leave all directories."""
        self._leave(0)

    def _enter(self, parts: list[str]) -> int:
        common = 0
        while common < min(len(parts), len(self._open)) and self._open[common][0] == parts[common]:
            common += 1
        self._leave(common)
        for part in parts[common:]:
            above = self._open[-1][1] if self._open else self._base
            with suppress(FileExistsError):
                os.mkdir(part, 0o755, dir_fd=above)
            self._open.append((part, os.open(part, _DIRECTORY, dir_fd=above), None))
        return self._open[-1][1] if self._open else self._base

    def _leave(self, depth: int) -> None:
        """Modes and times of directories are set last: until then we must be able to write there."""
        while len(self._open) > depth:
            _, descriptor, member = self._open.pop()
            if member is not None:
                self._dress(descriptor, member)
            os.close(descriptor)

    def _dress(self, descriptor: int, member: tarfile.TarInfo) -> None:
        if self._owners:
            os.chown(descriptor, member.uid, member.gid)
        os.chmod(descriptor, member.mode & (0o7777 if self._owners else 0o777))
        os.utime(descriptor, (member.mtime, member.mtime))

    def _place(
        self, archive: tarfile.TarFile, member: tarfile.TarInfo, directory: int, name: str, target: list[str]
    ) -> None:
        """Under another name first: a file takes the place of another only when it is whole."""
        with suppress(FileNotFoundError):
            if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                raise BadArchive(f"{member.name!a} is a directory here, but not in the container.")
        beside = f".krater-{os.urandom(8).hex()}.part"
        try:
            if member.isreg():
                self._write(archive, member, directory, beside)
            elif member.issym():
                os.symlink(member.linkname, beside, dir_fd=directory)
                os.utime(beside, (member.mtime, member.mtime), dir_fd=directory, follow_symlinks=False)
            else:
                self._link(member, directory, beside, target)
            os.rename(beside, name, src_dir_fd=directory, dst_dir_fd=directory)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(beside, dir_fd=directory)

    def _write(self, archive: tarfile.TarFile, member: tarfile.TarInfo, directory: int, beside: str) -> None:
        content = archive.extractfile(member)
        with open(os.open(beside, _NEW, 0o600, dir_fd=directory), "wb", buffering=0) as file:
            while content is not None and (data := _content(content)):
                view = memoryview(data)
                while view:
                    view = view[file.write(view) :]
            self._dress(file.fileno(), member)

    def _link(self, member: tarfile.TarInfo, directory: int, beside: str, target: list[str]) -> None:
        if not target:
            raise BadArchive(f"{member.name!a} is a link to nothing.")
        above = os.dup(self._base)
        try:
            for part in target[:-1]:
                below = os.open(part, _DIRECTORY, dir_fd=above)
                os.close(above)
                above = below
            os.link(target[-1], beside, src_dir_fd=above, dst_dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError as error:
            raise BadArchive(f"{member.name!a} is a link to what is not in the archive.") from error
        finally:
            os.close(above)

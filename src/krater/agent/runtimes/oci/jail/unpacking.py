"""From an archive to files below one directory. What the archive says is checked (`members`); no link below that
directory is ever followed, neither one that was there nor one that came with the archive nor one that somebody puts
there meanwhile; and a file takes the place of another only when it is whole.
"""

import errno
import os
import stat
import tarfile
from contextlib import suppress
from typing import Final

from krater.agent.runtimes.oci.jail.frames import Incoming, Line, Refused
from krater.agent.runtimes.oci.jail.members import members, parts_of, quoted
from krater.agent.runtimes.oci.jail.packing import locate

_CHUNK: Final = 64 * 1024
_REASONS: Final = {
    errno.EBUSY: "something is mounted there",
    errno.ELOOP: "links are not followed",
    errno.ENAMETOOLONG: "the name is too long",
}
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def unpack(path: str, source: Incoming, line: Line, limit: int) -> None:
    """Unpack into the existing directory `path`."""
    parent, name = locate(path if path.endswith("/") else f"{path}/")
    try:
        base = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=parent)
    except OSError as error:
        raise Refused("not-found", f"There is no directory {path} in the container.") from error
    os.close(parent)
    unpacker = Unpacker(base)
    for archive, member in members(source, limit):
        unpacker.add(archive, member)
    unpacker.finish()


class _Level:
    """A directory that is open: the next member is probably in it. Its times are set when it is left."""

    def __init__(self, name: str, descriptor: int) -> None:
        self.name, self.descriptor = name, descriptor
        self.mtime: float | None = None

    def leave(self) -> None:
        if self.mtime is not None:
            os.utime(self.descriptor, (self.mtime, self.mtime))
        os.close(self.descriptor)


class Unpacker:
    """Makes files below one directory."""

    def __init__(self, base: int) -> None:
        self._base = base
        self._levels: list[_Level] = []

    def add(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        """Have one member in the tree."""
        parts = parts_of(member.name)
        shown = quoted(member.name)
        try:
            if member.isdir():
                self._directory(parts, member)
            elif not parts:
                raise Refused("invalid", f"The archive has {shown}, which is not the name of a file.")
            else:
                self._file(archive, member, self._enter(parts[:-1]), parts[-1])
        except OSError as error:
            _explain(error, shown)
            raise

    def finish(self) -> None:
        """Leave all directories."""
        while self._levels:
            self._levels.pop().leave()

    def _enter(self, parts: list[str]) -> int:
        """The directory of these parts, made where it lacks."""
        common = 0
        while common < min(len(parts), len(self._levels)) and self._levels[common].name == parts[common]:
            common += 1
        while len(self._levels) > common:
            self._levels.pop().leave()
        for part in parts[common:]:
            self._levels.append(_Level(part, _ensure_directory(self._top, part)))
        return self._top

    @property
    def _top(self) -> int:
        return self._levels[-1].descriptor if self._levels else self._base

    def _directory(self, parts: list[str], member: tarfile.TarInfo) -> None:
        directory = self._enter(parts)
        if not parts:  # the directory to unpack in is what it is
            return
        _dress(directory, member)
        self._levels[-1].mtime = member.mtime

    def _file(self, archive: tarfile.TarFile, member: tarfile.TarInfo, directory: int, name: str) -> None:
        with suppress(FileNotFoundError):
            if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                raise Refused(
                    "invalid", f"{quoted(member.name)} is a directory in the container, but not in the archive."
                )
        beside = f".krater-{os.urandom(8).hex()}.part"
        try:
            if member.isreg():
                self._write(archive, member, directory, beside)
            elif member.issym():
                os.symlink(member.linkname, beside, dir_fd=directory)
                _dress_link(directory, beside, member)
            elif member.islnk():
                self._link(member, directory, beside)
            else:
                before = os.umask(0)  # a chmod by name could meet a link by now
                os.mkfifo(beside, stat.S_IMODE(member.mode), dir_fd=directory)
                os.umask(before)
                _dress_link(directory, beside, member)
            os.rename(beside, name, src_dir_fd=directory, dst_dir_fd=directory)
        finally:
            with suppress(OSError):  # gone, if all went well; still there after a link to itself
                os.unlink(beside, dir_fd=directory)

    def _write(self, archive: tarfile.TarFile, member: tarfile.TarInfo, directory: int, beside: str) -> None:
        content = archive.extractfile(member)
        descriptor = os.open(beside, _NEW, 0o600, dir_fd=directory)
        try:
            left = member.size
            while left and content is not None:
                try:
                    data = content.read(min(_CHUNK, left))
                except tarfile.TarError:
                    data = b""
                if not data:
                    raise Refused("invalid", f"The archive ends in the middle of {quoted(member.name)}.")
                left -= len(data)
                view = memoryview(data)
                while view:
                    view = view[os.write(descriptor, view) :]
            _dress(descriptor, member)
            os.utime(descriptor, (member.mtime, member.mtime))
        finally:
            os.close(descriptor)

    def _link(self, member: tarfile.TarInfo, directory: int, beside: str) -> None:
        """A hard link to what is in the tree already, reached without following links."""
        shown = quoted(member.name)
        *above, name = parts_of(member.linkname, f"{shown}, a link to {quoted(member.linkname)}") or [""]
        opened = [os.dup(self._base)]
        try:
            for part in above:
                opened.append(os.open(part, _DIRECTORY, dir_fd=opened[-1]))
                os.close(opened.pop(0))
            found = os.stat(name, dir_fd=opened[-1], follow_symlinks=False)
            if not stat.S_ISREG(found.st_mode) and not stat.S_ISLNK(found.st_mode):
                raise Refused("invalid", f"The archive has {shown}, a hard link to what is no file.")
            os.link(name, beside, src_dir_fd=opened[-1], dst_dir_fd=directory, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError) as error:
            target = quoted(member.linkname)
            raise Refused(
                "invalid", f"The archive has {shown}, a hard link to {target}, which is not there."
            ) from error
        finally:
            for descriptor in opened:
                os.close(descriptor)


def _ensure_directory(above: int, name: str) -> int:
    """Open a directory, made where it lacks. A link is none."""
    try:
        return os.open(name, _DIRECTORY, dir_fd=above)
    except FileNotFoundError:
        with suppress(FileExistsError):  # somebody inside was faster
            os.mkdir(name, 0o700, dir_fd=above)
        made = os.open(name, _DIRECTORY, dir_fd=above)
        os.chmod(made, 0o755)  # noqa: S103 -- as a directory that nobody said anything of is
        return made


def _dress(descriptor: int, member: tarfile.TarInfo) -> None:
    """Owner first: changing it takes special modes away."""
    os.chown(descriptor, member.uid, member.gid)
    os.chmod(descriptor, stat.S_IMODE(member.mode))


def _dress_link(directory: int, name: str, member: tarfile.TarInfo) -> None:
    os.chown(name, member.uid, member.gid, dir_fd=directory, follow_symlinks=False)
    os.utime(name, (member.mtime, member.mtime), dir_fd=directory, follow_symlinks=False)


def _explain(error: OSError, shown: str) -> None:
    """Refuse in words where a tenant may meet it; the rest is the node's business."""
    if isinstance(error, NotADirectoryError):
        reason: str | None = "a part of its path is a file or a link in the container; links are not followed"
    elif isinstance(error, FileNotFoundError):
        raise Refused("conflict", f"{shown}: its directory was removed meanwhile.") from error
    else:
        reason = _REASONS.get(error.errno or 0)
    if reason is not None:
        raise Refused("invalid", f"{shown}: {reason}.") from error

"""The files of a fake container: a tree in memory that archives go into and come out of."""

import io
import posixpath
import tarfile
from copy import copy
from datetime import UTC, datetime
from typing import Final

from krater.agent.runtimes.interfaces import PathStat
from krater.errors import Invalid, NotFound

_PIECE: Final = 64 * 1024
_DIRECTORY: Final = 1 << 31
_LINK: Final = 1 << 27
_FIRST: Final = ("/", "/etc", "/root", "/tmp")  # noqa: S108 -- in no file system at all


class FakeFiles:
    """Directories, files and links by their path. What real engines refuse of an archive is refused here too."""

    def __init__(self) -> None:
        self.writers: set[FakeUnpacked] = set()
        self._members: dict[str, tuple[tarfile.TarInfo, bytes]] = {}
        for path in _FIRST:
            made = tarfile.TarInfo(path)
            made.type, made.mode = tarfile.DIRTYPE, 0o755
            self._members[path] = (made, b"")

    def pack(self, path: str, limit: int) -> "FakePacked":
        """What is at a path, with all that is below it."""
        bare = posixpath.normpath("/" + path.lstrip("/"))
        found = self._members.get(bare)
        if found is None or (path.endswith("/") and not found[0].isdir()):
            raise NotFound(f"There is no {path} in the container.", code="path-not-found")
        top, content = found
        name = posixpath.basename(bare) or "/"
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for where, (member, data) in sorted(self._members.items()):
                if where == bare or where.startswith(bare.rstrip("/") + "/"):
                    inside = posixpath.relpath(where, bare)
                    shown = posixpath.normpath(posixpath.join("." if name == "/" else name, inside))
                    renamed = copy(member)
                    renamed.name = shown
                    archive.addfile(renamed, io.BytesIO(data))
        kind = _DIRECTORY if top.isdir() else _LINK if top.issym() else 0
        moment = datetime.fromtimestamp(int(top.mtime), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        stat = PathStat(name, len(content), top.mode | kind, moment, top.linkname)
        return FakePacked(stat, out.getvalue(), limit)

    def unpack(self, path: str, limit: int) -> "FakeUnpacked":
        """Into an existing directory."""
        where = posixpath.normpath("/" + path.lstrip("/"))
        found = self._members.get(where)
        if found is None or not found[0].isdir():
            raise NotFound(f"There is no directory {path} in the container.", code="path-not-found")
        writer = FakeUnpacked(self, where, limit)
        self.writers.add(writer)
        return writer

    def take(self, where: str, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        """One member of an archive."""
        name = member.name
        bad = name.startswith("/") or ".." in name.split("/") or not set(name).isdisjoint("\0\n")
        if bad or not (member.isreg() or member.isdir() or member.issym()):
            raise Invalid(f"The archive has {name!a}, which is not taken.", code="archive-refused")
        content = archive.extractfile(member) if member.isreg() else None
        path = posixpath.normpath(posixpath.join(where, name))
        self._members[path] = (member, content.read() if content is not None else b"")


class FakePacked:
    """Implements `ArchiveReader`."""

    def __init__(self, stat: PathStat, content: bytes, limit: int) -> None:
        self.stat = stat
        self._content, self._limit, self._at = content, limit, 0

    async def read(self) -> bytes:
        """The next piece."""
        piece = self._content[self._at : self._at + _PIECE]
        self._at += len(piece)
        if self._at > self._limit:
            raise Invalid("The archive is larger than what may be copied at once.", code="archive-too-large")
        return piece

    async def close(self) -> None:
        """Nothing to let go of."""


class FakeUnpacked:
    """Implements `ArchiveWriter`."""

    def __init__(self, files: FakeFiles, where: str, limit: int) -> None:
        self._files, self._where, self._limit = files, where, limit
        self._content = bytearray()

    async def write(self, data: bytes) -> None:
        """Kept until all is there."""
        self._content += data
        if len(self._content) > self._limit:
            raise Invalid("The archive is larger than what may be copied at once.", code="archive-too-large")

    async def finish(self) -> None:
        """Take it."""
        try:
            with tarfile.open(fileobj=io.BytesIO(self._content), mode="r:") as archive:
                for member in archive:
                    self._files.take(self._where, archive, member)
        except tarfile.TarError as error:
            raise Invalid(f"The archive cannot be read: {error}.", code="archive-refused") from error

    async def close(self) -> None:
        """It does not write any more."""
        self._files.writers.discard(self)

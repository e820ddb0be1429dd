"""Files of this machine as a tar archive, in pieces, made as they are asked for."""

import os
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

_CHUNK = 256 * 1024
_BLOCK = 512


@dataclass(frozen=True)
class Choices:
    """`follow`: what a link at the top points to, not the link; `owners`: keep them, else everything is root's."""

    follow: bool = False
    owners: bool = False


def packed(path: str, name: str, choices: Choices) -> Iterator[bytes]:
    """The file or directory at `path`, called `name` in the archive ("." for what is in a directory)."""
    top = os.path.realpath(path) if choices.follow else path
    yield from _Packing(choices).pieces(top, name)
    yield bytes(2 * _BLOCK)


class _Packing:
    def __init__(self, choices: Choices) -> None:
        self._choices = choices
        self._linked: dict[tuple[int, int], str] = {}

    def pieces(self, path: str, name: str) -> Iterator[bytes]:
        """Without recursion: directories may nest deeper than Python does."""
        waiting = [(path, name)]
        while waiting:
            path, name = waiting.pop()
            found = os.lstat(path)
            member = self._member(found, name)
            if stat.S_ISREG(found.st_mode):
                yield from self._file(path, member, found)
            elif stat.S_ISLNK(found.st_mode):
                member.type, member.linkname = tarfile.SYMTYPE, os.readlink(path)
                yield _header(member)
            elif stat.S_ISDIR(found.st_mode):
                member.type = tarfile.DIRTYPE
                yield _header(member)
                inside = sorted(os.listdir(path), reverse=True)
                waiting += [(os.path.join(path, entry), f"{name}/{entry}") for entry in inside]

    def _member(self, found: os.stat_result, name: str) -> tarfile.TarInfo:
        member = tarfile.TarInfo(name)
        member.mode, member.mtime = stat.S_IMODE(found.st_mode), int(found.st_mtime)
        if self._choices.owners:
            member.uid, member.gid = found.st_uid, found.st_gid
        return member

    def _file(self, path: str, member: tarfile.TarInfo, found: os.stat_result) -> Iterator[bytes]:
        identity = (found.st_dev, found.st_ino)
        if found.st_nlink > 1 and identity in self._linked:
            member.type, member.linkname = tarfile.LNKTYPE, self._linked[identity]
            yield _header(member)
            return
        with open(path, "rb", buffering=0) as file:
            if found.st_nlink > 1:
                self._linked[identity] = member.name
            member.size = left = os.fstat(file.fileno()).st_size
            yield _header(member)
            while left:
                data = file.read(min(_CHUNK, left)) or bytes(min(_CHUNK, left))  # shrinks while it is read
                left -= len(data)
                yield data
        yield bytes(-member.size % _BLOCK)


def _header(member: tarfile.TarInfo) -> bytes:
    return member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")

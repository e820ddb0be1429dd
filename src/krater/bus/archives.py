"""Messages about archives of a container's files, from the API to a node.

A session is opened, then its pieces are asked for or sent, one at a time and numbered from 0. The same number again is
the same piece again, so that an answer that was lost costs nothing; any other number is refused. A session that nobody
asks for is closed by the node after a minute.
"""

from dataclasses import dataclass
from typing import Final

from krater.bus.interfaces import Request

LARGEST_PIECE: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class FileStat:
    """A file in a container. `mode` is as Go's os.FileMode has it, `mtime` as RFC 3339."""

    name: str
    size: int
    mode: int
    mtime: str
    link_target: str


@dataclass(frozen=True, slots=True)
class PackAnswer:
    """What is at the path, and the session its archive comes in."""

    session: str
    stat: FileStat


@dataclass(frozen=True, slots=True)
class PackFiles(Request[PackAnswer]):
    """Begin to pack what is at a path of a container's files: at most `limit` bytes."""

    container: str
    path: str
    limit: int


@dataclass(frozen=True, slots=True)
class UnpackFiles(Request[str]):
    """Begin to unpack into a directory of a container's files: at most `limit` bytes. Answers with the session."""

    container: str
    path: str
    limit: int


@dataclass(frozen=True, slots=True)
class GetPiece(Request[bytes]):
    """A piece of an archive that is packed; empty at the end, with which the session is over."""

    session: str
    number: int


@dataclass(frozen=True, slots=True)
class PutPiece(Request[None]):
    """A piece of an archive to unpack. The last one is answered when everything is unpacked; the session is over."""

    session: str
    number: int
    data: bytes
    is_last: bool = False


@dataclass(frozen=True, slots=True)
class CloseArchive(Request[None]):
    """Nobody wants the rest. A session that is over already is no failure."""

    session: str

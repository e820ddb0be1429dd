"""What travels between a console and a process: typed frames, the same from the node to the client of ours.

A frame is one byte that says its kind, and the content. Between node and gateway each has its length in four bytes
before it; between gateway and client each is one binary message of the websocket (subprotocol `krater.v1`).
"""

import struct
from dataclasses import dataclass, field
from typing import Final

STDIN: Final = 0  # to the process
STDOUT: Final = 1  # from it; a terminal has no other output
STDERR: Final = 2
STDIN_END: Final = 3  # to the process: there will be no more input
RESIZE: Final = 4  # to its terminal: rows and columns, two bytes each
EXIT: Final = 5  # from it, last: its exit code in four bytes; without them it is not known
REFUSED: Final = 6  # from the node, last: why there is no process, as text

LARGEST: Final = 1 << 20
MOST_CELLS: Final = 0xFFFF  # rows or columns: what the kernel has room for
SUBPROTOCOL: Final = "krater.v1"

_LENGTH = struct.Struct(">I")
_SIZE = struct.Struct(">HH")
_CODE = struct.Struct(">i")


@dataclass(frozen=True, slots=True)
class Opened:
    """A session that waits at a node to be reached, once. Whoever knows the secret is let in.

    `address` is `unix:NAME`, a socket in the run directory of the machine; other kinds can follow. `session` and
    `secret` are 64 hexadecimal digits each.
    """

    session: str
    secret: str = field(repr=False)
    address: str


def packed(kind: int, content: bytes = b"") -> bytes:
    """A frame as it goes from node to gateway or back."""
    return b"%b%c%b" % (_LENGTH.pack(len(content) + 1), kind, content)


def length(head: bytes) -> int:
    """The length of the frame whose first four bytes these are. ValueError when nobody would send such a one."""
    (found,) = _LENGTH.unpack(head)
    if not 0 < found <= LARGEST + 1:
        raise ValueError(f"a frame of {found} bytes")
    return int(found)


def size_content(rows: int, columns: int) -> bytes:
    """The content of RESIZE."""
    return _SIZE.pack(min(rows, MOST_CELLS), min(columns, MOST_CELLS))


def read_size(content: bytes) -> tuple[int, int] | None:
    """Rows and columns of a RESIZE, None when that is not what it says."""
    if len(content) != _SIZE.size:
        return None
    rows, columns = _SIZE.unpack(content)
    return (rows, columns) if rows and columns else None


def exit_content(code: int | None) -> bytes:
    """The content of EXIT."""
    return b"" if code is None else _CODE.pack(code)


def hello(session: str, secret: str) -> bytes:
    """What a gateway says first to a node: which session, and that it may."""
    return bytes.fromhex(session) + bytes.fromhex(secret)

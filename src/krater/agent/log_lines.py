"""The lines of a log: parts put together, filtered, counted and bounded. Pure."""

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

_LONGEST_PART = 64 << 10
_HEADER_FIELDS = 3


class Entry(NamedTuple):
    """One line as conmon wrote it. `is_end` is true when a line of the container ends with it."""

    stamp: bytes
    stream: bytes
    is_end: bool
    text: bytes


def parse_entry(raw: bytes) -> Entry:
    """Take a line of the file apart. What is not in the format (a torn write) is taken for output as it is."""
    fields = raw.rstrip(b"\n").split(b" ", _HEADER_FIELDS)
    if len(fields) <= _HEADER_FIELDS or fields[1] not in (b"stdout", b"stderr"):
        return Entry(b"", b"stdout", True, raw.rstrip(b"\n"))
    return Entry(fields[0], fields[1], not fields[2].startswith(b"P"), fields[3])


@lru_cache(maxsize=1024)
def _second(stamp: bytes, zone: bytes) -> float:
    return datetime.fromisoformat((stamp + (b"+00:00" if zone == b"Z" else zone)).decode()).timestamp()


def seconds_of(stamp: bytes) -> float | None:
    """A time stamp with up to nine digits of fraction as seconds since the epoch; None for what is none."""
    body, fraction = stamp[:19], stamp[19:]
    digits = fraction[1:].split(b"Z")[0].split(b"+")[0].split(b"-")[0] if fraction[:1] == b"." else b""
    zone = fraction[1 + len(digits) :] if digits else fraction
    try:
        return _second(body, zone or b"Z") + (float(b"0." + digits) if digits else 0.0)
    except ValueError:
        return None


@dataclass(slots=True)
class _Open:
    """A line whose end has not come yet. `is_begun` is true when its beginning was already given out."""

    stamp: bytes
    is_begun: bool
    parts: list[bytes] = field(default_factory=list)
    size: int = 0


class Collector:
    """Takes entries in order and keeps the newest lines: at most `tail` of them, at most `limit` bytes.

    With `drops` false nothing is left out: then whoever feeds it stops when `is_full`.
    `open_lines` are the streams in the middle of a line: before the first entry those whose beginning an earlier answer
    gave out, after `finish` those whose end is still to come.
    """

    def __init__(
        self,
        streams: frozenset[bytes],
        *,
        timestamps: bool = False,
        since: float | None = None,
        tail: int | None = None,
        limit: int,
        drops: bool = True,
        open_lines: frozenset[bytes] = frozenset(),
    ) -> None:
        self.is_truncated = False
        self.open_lines = open_lines
        self._streams = streams
        self._timestamps = timestamps
        self._since = since
        self._tail = tail
        self._limit = limit
        self._drops = drops
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._open: dict[bytes, _Open] = {name: _Open(b"", True) for name in open_lines}

    def wants(self, stream: bytes) -> bool:
        """Whether lines of that stream are asked for."""
        return stream in self._streams

    @property
    def is_full(self) -> bool:
        """Whether there is as much as fits."""
        return self._size >= self._limit

    def add(self, entry: Entry) -> None:
        """Take one more entry."""
        if entry.stream not in self._streams or self._is_too_old(entry):
            return
        line = self._open.get(entry.stream)
        if line is None:
            line = self._open[entry.stream] = _Open(entry.stamp, False)
        line.parts.append(entry.text)
        line.size += len(entry.text)
        if entry.is_end:
            del self._open[entry.stream]
            self._put(line, b"\n")
        elif self._tail is None:
            if line.size > _LONGEST_PART:
                self._put(line, b"")
        else:  # lines are counted, so none is given out in parts
            self._shorten(line)

    def finish(self) -> bytes:
        """The text. A line that is not ended yet, as a prompt, is given out as far as it is there."""
        for line in self._open.values():
            if line.parts:
                self._put(line, b"")
        self.open_lines = frozenset(self._open)
        return b"".join(self._lines)

    def _is_too_old(self, entry: Entry) -> bool:
        if self._since is None or not entry.stamp:
            return False
        seconds = seconds_of(entry.stamp)
        return seconds is not None and seconds < self._since

    def _put(self, line: _Open, end: bytes) -> None:
        """Give a line out, or a part of one; make room for it at the other end."""
        prefix = line.stamp + b" " if self._timestamps and line.stamp and not line.is_begun else b""
        text = prefix + b"".join(line.parts) + end
        if not text:
            return
        line.parts, line.size, line.is_begun = [], 0, True
        self._lines.append(text)
        self._size += len(text)
        if self._drops:
            self._make_room()

    def _shorten(self, line: _Open) -> None:
        """Keep no more of a line than fits."""
        while line.size - len(line.parts[0]) > self._limit:
            line.size -= len(line.parts.pop(0))
            self.is_truncated = True

    def _make_room(self) -> None:
        """Leave out the oldest."""
        if self._tail is not None and len(self._lines) > self._tail:
            self._size -= len(self._lines.popleft())
        while self._size > self._limit and len(self._lines) > 1:
            self._size -= len(self._lines.popleft())
            self.is_truncated = True
        if self._size > self._limit and self._lines:
            self._lines[0] = self._lines[0][self._size - self._limit :]
            self._size = self._limit
            self.is_truncated = True

"""The files of a container's log: which there are, where to start reading, when to rotate and when to delete them."""

import asyncio
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import structlog

from krater.agent.log_lines import parse_entry, seconds_of
from krater.agent.runtimes.interfaces import Engine
from krater.errors import KraterError

_log = structlog.get_logger(__name__)

_LONGEST_LINE = 1 << 20
_BLOCK = 64 << 10
_MOST_FILES = 100
_MOST_GAPS = 2
_LONGEST_STAMP = 64
_PRUNE_EVERY = 60.0
_IN_USE = 60.0
_DIRECTORY = 8192


class Place(NamedTuple):
    """An offset in one of several files, which are ordered oldest first."""

    file: int
    offset: int


class LogFile:
    """One file, open: it stays readable when it is rotated or deleted meanwhile."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        found = os.fstat(file.fileno())
        self.inode, self.size, self.mtime = found.st_ino, found.st_size, found.st_mtime
        first = file.read(_LONGEST_STAMP).partition(b" ")
        self.head = first[0].decode("ascii", "replace") if first[1] else ""

    def close(self) -> None:
        """Let go of it."""
        self._file.close()

    def is_named(self, inode: int, head: str, offset: int) -> bool:
        """Whether a cursor means this file: inodes are used again, hence the other two."""
        return inode == self.inode and offset <= self.size and head in ("", self.head)

    def lines(self, offset: int) -> Iterator[bytes]:
        """Whole lines from there on, of what was there when it was opened: a writer may be faster than any reader."""
        self._file.seek(offset)
        while offset < self.size and (raw := self._file.readline(_LONGEST_LINE)):
            if not raw.endswith(b"\n") and len(raw) < _LONGEST_LINE:
                return
            offset += len(raw)
            yield raw

    def line_after(self, offset: int) -> int:
        """Where the first line begins that does not begin before an offset."""
        if offset <= 0:
            return 0
        self._file.seek(offset - 1)
        return offset - 1 + len(self._file.readline(_LONGEST_LINE))

    def blocks_backwards(self) -> Iterator[tuple[int, bytes]]:
        """The file in blocks that begin at the start of a line, last first, with their offsets."""
        end, rest = self.size, b""
        while end > 0:
            start = max(0, end - _BLOCK)
            self._file.seek(start)
            block = self._file.read(end - start) + rest
            end = start
            if start and b"\n" not in block:
                rest = block
                continue
            cut = block.find(b"\n") + 1 if start else 0
            rest = block[:cut]
            if block[cut:]:
                yield start + cut, block[cut:]

    def first_since(self, since: float) -> int:
        """An offset before which everything is older, found by halving."""
        low, high = 0, self.size
        while high - low > _BLOCK:
            middle = (low + high) // 2
            self._file.seek(middle)
            skipped = len(self._file.readline(_LONGEST_LINE))
            raw = self._file.readline(_LONGEST_LINE)
            seconds = seconds_of(parse_entry(raw).stamp) if raw else None
            if seconds is None or seconds >= since:
                high = middle
            else:
                low = middle + skipped
        return low


def open_all(path: str) -> list[LogFile]:
    """The files of a log, oldest first.

    They are opened newest first: a rotation meanwhile then shows a file twice, which is noticed, and hides none.
    """
    found: dict[int, LogFile] = {}
    gaps = 0
    for number in range(_MOST_FILES):
        try:
            file = LogFile(open(f"{path}.{number}" if number else path, "rb"))  # noqa: SIM115
        except FileNotFoundError:
            gaps += 1  # one there may be, in the middle of a rotation
            if gaps > _MOST_GAPS:
                break
            continue
        if file.inode in found:
            file.close()
        else:
            found[file.inode] = file
    return list(reversed(found.values()))


def start_near_end(files: list[LogFile], size: int) -> Place:
    """A place from which no more than `size` bytes follow."""
    for index in range(len(files) - 1, -1, -1):
        if files[index].size > size:
            return Place(index, files[index].line_after(files[index].size - size))
        size -= files[index].size
    return Place(0, 0)


def start_of_tail(files: list[LogFile], lines: int, wants: Callable[[bytes], bool], least: Place) -> Place:
    """A place from which at least `lines` whole lines follow (one more, when there are more), from the end back; not
    before `least`.
    """
    if lines <= 0:
        return Place(len(files) - 1, files[-1].size) if files else Place(0, 0)
    left = lines + 1
    for index in range(len(files) - 1, -1, -1):
        for offset, block in files[index].blocks_backwards():
            entries = [parse_entry(raw) for raw in block.split(b"\n") if raw]  # a carriage return ends no line
            left -= sum(entry.is_end and wants(entry.stream) for entry in entries)
            if left < 0:
                return Place(index, offset)
            if Place(index, offset) <= least:
                return least
    return Place(0, 0)


def start_since(files: list[LogFile], since: float) -> Place:
    """A place before which everything is older than `since`."""
    for index, file in enumerate(files):
        if file.mtime >= since:
            return Place(index, file.first_since(since))
    return Place(max(len(files) - 1, 0), files[-1].size if files else 0)


class LogKeeper:
    """Bounds the logs: rotates those that are too large, deletes those of containers that are long gone.

    `keep` is for how many seconds, `room` in how many bytes all together: when that is not enough, the oldest go.
    """

    def __init__(self, engine: Engine, largest: int, keep: float, room: int) -> None:
        self._engine = engine
        self._root = Path(engine.log_path("any")).parent.parent
        self._largest = largest
        self._keep = keep
        self._room = room
        self._pruned_at = float("-inf")
        self._at_rest: frozenset[str] = frozenset()

    async def keep(self) -> None:
        """One round."""
        for container in await asyncio.to_thread(self._written):
            try:
                await self._engine.tend_log(container, self._largest)
            except KraterError as problem:
                _log.warning("a log cannot be rotated", container=container, reason=problem.message)
        if time.monotonic() - self._pruned_at >= min(_PRUNE_EVERY, self._keep):
            here = await self._engine.list()
            await asyncio.to_thread(self._prune, set(here))
            self._pruned_at = time.monotonic()

    def _written(self) -> list[str]:
        """Containers whose log is being written."""
        found = []
        for directory in self._directories():
            if directory.name in self._at_rest:
                continue
            try:
                state = os.stat(self._engine.log_path(directory.name))
            except FileNotFoundError:
                continue
            if time.time() - state.st_mtime < _IN_USE:
                found.append(directory.name)
        return found

    def _prune(self, here: set[str]) -> None:
        """Delete the logs of containers that are not here, and are not for long, or take too much room."""
        now, room, at_rest = time.time(), self._room, set()
        kept = [
            (*_age_and_size(directory), directory) for directory in self._directories() if directory.name not in here
        ]
        for changed_at, size, directory in sorted(kept, key=lambda one: one[0], reverse=True):
            room -= size
            if changed_at < now - self._keep or room < 0:
                shutil.rmtree(directory, ignore_errors=True)
            elif changed_at < now - _IN_USE:
                at_rest.add(directory.name)
        self._at_rest = frozenset(at_rest)

    def _directories(self) -> Iterator[os.DirEntry[str]]:
        try:
            with os.scandir(self._root) as entries:
                yield from (entry for entry in entries if entry.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            return


def _age_and_size(directory: os.DirEntry[str]) -> tuple[float, int]:
    """When anything in it was written last, or its container was removed, and how many bytes of the disk it takes: not
    nothing when it is empty, or whoever makes and removes containers in a loop would leave any number of them."""
    with os.scandir(directory) as entries:
        files = {file.inode(): file.stat(follow_symlinks=False) for file in entries}  # one may have two names
    times = [directory.stat().st_mtime, *(file.st_mtime for file in files.values())]
    return max(times), _DIRECTORY + sum(max(file.st_size, 512 * file.st_blocks) for file in files.values())

"""Reads container logs: the end of them, since a time, or on from a cursor. Never a whole log in memory.

conmon writes lines of `TIME STREAM F|P TEXT`: F ends a line of the container, P is a part of one. A log is a file and
its rotated parts, oldest last: `container.log`, `container.log.1`, ... A cursor names a place in one of these files by
the file's inode and first time stamp, so that it stays right when files are rotated, and by number of bytes.
"""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from krater.agent.log_files import LogFile, Place, open_all, start_near_end, start_of_tail, start_since
from krater.agent.log_lines import Collector, parse_entry
from krater.bus.messages import Logs, LogsAnswer
from krater.errors import Invalid

START = "start"  # the cursor before all there is

# Bytes of files read for one answer, for a second or two of a thread: a container may write as much as it likes, and
# others wait for these threads. Following goes on from there; whoever asks for the end is told that more was left out.
MOST_READ = 32 << 20

_AT_ONCE = 4
_FIRST_LOOK, _LAST_LOOK = 0.02, 0.25
_LONGEST_WAIT = 300.0


class LogReader:
    """Answers requests for logs, in threads. `path` tells where a container's log is.

    Who waits for more costs a look at the size of a file now and then: it is read only when that has changed.
    """

    def __init__(self, path: Callable[[str], str]) -> None:
        self._path = path
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._waiting: dict[str, set[asyncio.Event]] = {}

    def stir(self, container: str) -> None:
        """Something happened to a container: whoever waits for its log is answered, to look at it."""
        for stirred in self._waiting.get(container, ()):
            stirred.set()

    def has(self, container: str) -> bool:
        """Whether there is a log, of a container that is here or was."""
        return Path(self._path(container)).parent.is_dir()

    async def read(self, request: Logs) -> LogsAnswer:
        """The log as asked for. With a cursor and a `wait`: as soon as there is more, or when the time is over."""
        path, stirred = self._path(request.container), asyncio.Event()
        end = asyncio.get_running_loop().time() + min(request.wait, _LONGEST_WAIT)
        cursor = request.cursor
        self._waiting.setdefault(request.container, set()).add(stirred)
        try:
            while True:
                mark = _mark(path)
                async with self._room:
                    answer = await asyncio.to_thread(read_log, path, request, cursor)
                is_late = asyncio.get_running_loop().time() >= end
                if answer.text or not request.cursor or is_late or stirred.is_set():
                    return answer
                if answer.cursor == cursor:
                    await self._changed(path, mark, end, stirred)
                cursor = answer.cursor
        finally:
            others = self._waiting[request.container]
            others.discard(stirred)
            if not others:
                del self._waiting[request.container]

    async def _changed(self, path: str, mark: object, end: float, stirred: asyncio.Event) -> None:
        """Until the file is another or has another size, something else happened, or it is time."""
        pause = _FIRST_LOOK
        while (left := end - asyncio.get_running_loop().time()) > 0 and _mark(path) == mark and not stirred.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(stirred.wait(), min(pause, left))
            pause = min(pause * 1.5, _LAST_LOOK)


def _mark(path: str) -> tuple[int, int] | None:
    """What changes whenever something was written."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size


def read_log(path: str, request: Logs, cursor: str = "") -> LogsAnswer:
    """Read what there is now, without waiting. Blocks; for threads."""
    files = open_all(path)
    try:
        return _read_on(files, request, cursor) if cursor else _read_anew(files, request)
    finally:
        for file in files:
            file.close()


def _read_anew(files: list[LogFile], request: Logs) -> LogsAnswer:
    """The newest lines that fit. When there is too much, the beginning is left out."""
    collector = _collector(request, tail=request.tail)
    start = least = start_near_end(files, MOST_READ)
    if request.tail is not None:
        start = start_of_tail(files, request.tail, collector.wants, least)
    if request.since is not None:
        start = max(start, start_since(files, request.since))
    place = _collect(files, start, collector, stop_when_full=False)
    text = collector.finish()
    is_truncated = collector.is_truncated or (start == least and least != Place(0, 0))
    return LogsAnswer(text, is_truncated, _cursor(files, place, collector.open_lines))


def _read_on(files: list[LogFile], request: Logs, cursor: str) -> LogsAnswer:
    """The oldest lines after the cursor that fit: what does not is for the next request, so nothing is lost."""
    inode, offset, head, open_lines = _parse_cursor(cursor)
    collector = _collector(request, tail=None, open_lines=open_lines)
    index = next((i for i, file in enumerate(files) if file.is_named(inode, head, offset)), None)
    is_lost = index is None and inode != 0
    start = Place(0, 0) if index is None else Place(index, offset)
    place = _collect(files, start, collector, stop_when_full=True)
    text = collector.finish()
    return LogsAnswer(text, is_lost, _cursor(files, place, collector.open_lines))


def _collector(request: Logs, tail: int | None, open_lines: frozenset[bytes] | None = None) -> Collector:
    wanted = ((b"stdout", request.stdout), (b"stderr", request.stderr))
    return Collector(
        streams=frozenset(name for name, is_wanted in wanted if is_wanted),
        timestamps=request.timestamps,
        since=request.since,
        tail=tail,
        limit=request.limit,
        drops=open_lines is None,
        open_lines=open_lines or frozenset(),
    )


def _collect(files: list[LogFile], start: Place, collector: Collector, *, stop_when_full: bool) -> Place:
    """Feed everything from `start` on to the collector; the place after the last entry it took."""
    place, left = start, MOST_READ
    for index in range(start.file, len(files)):
        offset = start.offset if index == start.file else 0
        place = Place(index, offset)
        for raw in files[index].lines(offset):
            if stop_when_full and (collector.is_full or left <= 0):
                return place
            left -= len(raw)
            collector.add(parse_entry(raw))
            place = Place(index, place.offset + len(raw))
    return place


def _cursor(files: list[LogFile], place: Place, open_lines: frozenset[bytes]) -> str:
    marks = "".join(sorted(name[3:4].decode() for name in open_lines))
    if not files:
        return "0/0//"
    file = files[place.file]
    return f"{file.inode}/{place.offset}/{marks}/{file.head}"


def _parse_cursor(cursor: str) -> tuple[int, int, str, frozenset[bytes]]:
    if cursor == START:
        return 0, 0, "", frozenset()
    try:
        inode, offset, marks, head = cursor.split("/", 3)
        streams = {"o": b"stdout", "e": b"stderr"}
        if not (inode.isascii() and inode.isdigit() and offset.isascii() and offset.isdigit()):
            raise ValueError
        return int(inode), int(offset), head, frozenset(streams[mark] for mark in marks)
    except (ValueError, KeyError):
        raise Invalid("This is not a cursor of a log.", field="cursor") from None

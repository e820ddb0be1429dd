"""Following a log by asking again and again for what is new.

Krater's servers say with each answer where it ended (a cursor, in a header) and go on from there. Other servers of this
API only have "what there is since a second": there the beginning of each answer is what is known already. It is
recognised as text, time stamps included, not by comparing single stamps: two lines of the same instant, or the same
line twice, are all kept, and each comes once. Relied upon: each line begins with a stamp, and `since` is inclusive.
"""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from krater.client.errors import Conflict, NotFound, ServerFailed, Unreachable

_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:?\d\d) ")

FIRST_PAUSE, PAUSE_AFTER_NEWS, LONGEST_PAUSE = 0.05, 0.1, 1.0
PATIENCE = 60.0
MUCH = 1 << 20

START = "start"  # the cursor before all there is

Moment = tuple[int, str]


def moment(line: str) -> Moment | None:
    """The stamp a line begins with, as seconds since 1970 and digits of a fraction; None when there is none."""
    found = _STAMP.match(line)
    if found is None:
        return None
    base, fraction, zone = found.groups()
    seconds = int(datetime.fromisoformat(base + zone).timestamp())
    return seconds, (fraction or "").ljust(9, "0")


def unstamped(text: str) -> str:
    """The text without the stamps its lines begin with."""
    lines = text.split("\n")
    for number, line in enumerate(lines):
        stamp = _STAMP.match(line)
        if stamp is not None:
            lines[number] = line[stamp.end() :]
    return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask of a log. With a cursor: what came after it, at once or within `wait` seconds."""

    tail: str | None = None
    since: str | None = None
    timestamps: bool = True
    cursor: str | None = None
    wait: float = 0.0


Read = Callable[[Question], tuple[str, str | None]]
"""Asks; the text, and the cursor after it where the server has such."""


class Overlap:
    """Finds what is new in answers that overlap. `since` is what to ask for next (seconds since 1970)."""

    def __init__(self, since: str | None = None) -> None:
        self.since = since
        self._known = ""  # whole lines
        self._open = ""  # the line after them, as far as it was there
        self._last: Moment | None = None

    def news(self, text: str) -> str:
        """The part of the answer that no answer before had."""
        if not text:
            return ""
        end = text.rfind("\n") + 1
        lines, open_line = text[:end], text[end:]
        at = lines.find(self._known) if self._known else 0
        new = (lines[at + len(self._known) :] if at >= 0 else self._later(lines)) + open_line
        new = new.replace(self._open, "", 1)
        self._remember(lines, open_line)
        return new

    def _later(self, text: str) -> str:
        """For an answer that lacks what is known, since the log was rotated or cut: lines after the last known one."""
        lines = text.split("\n")
        for number, line in enumerate(lines):
            stamp = moment(line)
            if stamp is not None and (self._last is None or stamp > self._last):
                return "\n".join(lines[number:])
        return ""

    def _remember(self, lines: str, open_line: str) -> None:
        self._open = open_line
        last = lines[lines[:-1].rfind("\n") + 1 :]
        stamp = moment(last)
        if stamp is None:
            self._known = lines
            return
        self._last = stamp
        second = last[: len("2000-01-01T00:00:00")]
        self._known = lines if lines.startswith(second) else lines[lines.find("\n" + second) + 1 :]
        began = moment(open_line)
        self.since = str(min(stamp[0], began[0]) if began else stamp[0])


def follow(
    state: Callable[[], bool],
    read: Read,
    *,
    tail: str | None = None,
    since: str | None = None,
    timestamps: bool = False,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[str]:
    """Pieces of a log as they come, until it is complete.

    `state` tells whether the container is over; it is asked before `read`, so the read after it misses nothing. A
    server that is away or restarts is waited for, a minute at most.
    """
    begin = START if tail is None and since is None else None
    log = _Log(read, timestamps, Question(tail="1" if tail == "0" else tail, since=since, cursor=begin))
    pause, in_trouble = FIRST_PAUSE, None
    skip = tail == "0"  # "from now on" begins after the last line there is: that one is asked for and not shown
    while True:
        over = complete = False
        new, began = "", time.monotonic()
        try:
            over = state()
            new = log.read_on(0.0 if over else pause)
            new, skip = "" if skip else new, False
            in_trouble, complete = None, over and (not new or not log.is_bounded)
        except NotFound:
            return
        except Conflict:  # there are states without a log, between two runs for example
            complete = over
        except (Unreachable, ServerFailed):
            in_trouble = in_trouble or time.monotonic()
            if time.monotonic() - in_trouble > PATIENCE:
                raise
        if new:
            yield new
        if complete:
            return
        waited, pause = pause, PAUSE_AFTER_NEWS if new else min(pause * 1.5, LONGEST_PAUSE)
        if new and log.is_bounded and (over or len(new) >= MUCH):  # there is more, and rotation may be at its heels
            sleep(0.0)
        else:  # the server may have waited for us
            sleep(max(0.0, (pause if new else waited) - (time.monotonic() - began)))


class _Log:
    """A log read on and on, in the way its server can."""

    def __init__(self, read: Read, timestamps: bool, first: Question) -> None:
        self._read = read
        self._timestamps = timestamps
        self._first: Question | None = first
        self._overlap = Overlap(first.since)
        self._cursor: str | None = None

    @property
    def is_bounded(self) -> bool:
        """Whether an answer may have had no room for all there is: the log ends where nothing more comes."""
        return self._cursor is not None

    def read_on(self, wait: float) -> str:
        """What is new."""
        if self._cursor is not None:
            question = Question(timestamps=self._timestamps, cursor=self._cursor, wait=wait)
            text, self._cursor = self._read(question)
            return text
        text, self._cursor = self._read(self._first or Question(since=self._overlap.since))
        self._first = None
        new = self._overlap.news(text)
        return new if self._timestamps else unstamped(new)

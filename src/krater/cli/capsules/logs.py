"""`krater capsule logs`: what all members wrote, line by line in the order of time, or what one wrote, as it is."""

import heapq
import queue
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import click

from krater.cli.capsules.naming import complete_both, complete_members
from krater.cli.connection import pass_client
from krater.cli.logs import Chosen, check_tail, log_options, print_log, write
from krater.cli.tables import is_colored, paint, safe, width_of
from krater.client import Client, Conflict, members_of
from krater.client.capsule_answers import Member
from krater.client.following import Moment, moment, unstamped
from krater.client.naming import SLASH

News = tuple[int, str | Exception | None]
"""Whose it is, and a piece, what went wrong, or None at the end."""

_COLORS = ("cyan", "green", "yellow", "blue", "magenta")
_BEFORE_ALL: Moment = (0, "")

# Pieces that wait to be printed: who writes faster is read slower. And how long pieces that come together are gathered.
_MOST_WAITING, _TOGETHER = 32, 0.05


@click.command()
@click.argument("capsule", metavar="CAPSULE", shell_complete=complete_both)
@click.argument("member", required=False, shell_complete=complete_members)
@log_options
@pass_client
def logs(
    client: Client,
    capsule: str,
    member: str | None,
    follow: bool,
    tail: str | None,
    since: str | None,
    timestamps: bool,
) -> None:
    """Print what all members of a capsule wrote, each line behind the member's name; of one MEMBER, exactly as it is.

    --tail counts for each member.
    """
    chosen = Chosen(check_tail(tail), since, timestamps)
    if member is not None or SLASH in capsule:
        name = capsule if member is None else f"{capsule}{SLASH}{member}"
        print_log(client, client.capsules.find_member(name)["uuid"], chosen, follow=follow)
        return
    members = members_of(client.capsules.find(capsule))
    prefixes = _prefixes([one["member_name"] for one in members])
    if follow:
        write(_shown(batch, prefixes, timestamps) for batch in _followed(client, members, chosen))
    elif tail != "0":
        write([_shown(_merged(client, members, chosen), prefixes, timestamps)])


@dataclass(frozen=True, slots=True)
class _Line:
    """A line with its stamp, when it was written, and which of the members wrote it."""

    at: Moment
    whose: int
    text: str


class _Lines:
    """What comes of one log in pieces, as whole lines."""

    def __init__(self, whose: int) -> None:
        self._whose = whose
        self._open = ""
        self._last = _BEFORE_ALL

    def feed(self, piece: str) -> list[_Line]:
        """The lines that it completes."""
        *lines, self._open = (self._open + piece).split("\n")
        return [self._line(text) for text in lines]

    def rest(self) -> list[_Line]:
        """The line that was never ended, when no more comes."""
        text, self._open = self._open, ""
        return [self._line(text)] if text else []

    def _line(self, text: str) -> _Line:
        self._last = moment(text) or self._last
        return _Line(self._last, self._whose, text)


def _prefixes(names: Sequence[str]) -> list[str]:
    """What stands before the lines of each."""
    longest = max((width_of(name) for name in names), default=0)
    colored = is_colored(sys.stdout)
    return [
        paint(safe(name) + " " * (longest - width_of(name)) + " |", _COLORS[number % len(_COLORS)] if colored else None)
        for number, name in enumerate(names)
    ]


def _shown(lines: Iterable[_Line], prefixes: Sequence[str], timestamps: bool) -> str:
    return "".join(f"{prefixes[line.whose]} {line.text if timestamps else unstamped(line.text)}\n" for line in lines)


def _merged(client: Client, members: Sequence[Member], chosen: Chosen) -> Iterable[_Line]:
    """What they wrote until now, in the order of time."""
    return heapq.merge(*(_read(client, n, one, chosen) for n, one in enumerate(members)), key=lambda line: line.at)


def _read(client: Client, whose: int, member: Member, chosen: Chosen) -> list[_Line]:
    try:
        text = client.containers.logs(member["uuid"], timestamps=True, tail=chosen.tail, since=chosen.since)
    except Conflict:  # one that was not made yet has written nothing
        return []
    lines = _Lines(whose)
    return lines.feed(text) + lines.rest()


def _followed(client: Client, members: Sequence[Member], chosen: Chosen) -> Iterator[list[_Line]]:
    """What they write, until all have ended; what comes together in the order of time."""
    news: queue.Queue[News] = queue.Queue(_MOST_WAITING)
    for number, member in enumerate(members):
        threading.Thread(target=_listen, args=(client, member["uuid"], chosen, number, news), daemon=True).start()
    logs, left = [_Lines(number) for number in range(len(members))], len(members)
    while left:
        batch: list[_Line] = []
        for number, piece in _together(news):
            if isinstance(piece, Exception):
                raise piece
            batch += logs[number].rest() if piece is None else logs[number].feed(piece)
            left -= piece is None
        yield sorted(batch, key=lambda line: line.at)


def _together(news: "queue.Queue[News]") -> Iterator[News]:
    """The next piece, once there is one, and all that come with it."""
    yield news.get()
    time.sleep(_TOGETHER)
    for _ in range(_MOST_WAITING):
        try:
            yield news.get_nowait()
        except queue.Empty:
            return


def _listen(client: Client, uuid: str, chosen: Chosen, number: int, news: "queue.Queue[News]") -> None:
    """Follow one log on a connection of its own."""
    try:
        with Client.from_access(client.access) as own:
            for piece in own.containers.follow(uuid, timestamps=True, tail=chosen.tail, since=chosen.since):
                news.put((number, piece))
    except Exception as error:
        news.put((number, error))
    else:
        news.put((number, None))

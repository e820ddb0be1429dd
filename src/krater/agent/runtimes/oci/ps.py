"""The arguments of `ps` that a user may choose, and its answer. Pure.

ps is run on the host, so it is told which processes to look at (`-q`), and of the user's arguments only those pass that
choose columns. Those that choose processes ask for all of the container's, which is what is shown anyway.
"""

import re
import shlex
from collections.abc import Iterator, Sequence
from typing import Final

from krater.agent.runtimes.interfaces import ProcessTable
from krater.errors import Invalid

DEFAULT: Final = "-ef"

_FORMAT: Final = re.compile(r"^[A-Za-z0-9_%,:]+$")
_CLUSTER: Final = re.compile(r"^(-?)([A-Za-np-zA-NP-Z]+)([oO])$")
_LONG: Final = re.compile(r"^--sort=[A-Za-z0-9_%,+-]+$")
_DATE: Final = 5  # words, such as Sat Nov 21 23:33:25 2026
_UNIX_COLUMNS: Final = frozenset("fFljyMZcLTw")
_UNIX_SELECTION: Final = frozenset("eAadxH")
_BSD_COLUMNS: Final = frozenset("ujlvsfwX")
_BSD_SELECTION: Final = frozenset("axrg")


def arguments(wanted: str, pids: Sequence[int]) -> list[str]:
    """The arguments to run ps with. Raises Invalid for any that is not known to be harmless."""
    try:
        words = shlex.split(wanted or DEFAULT)
    except ValueError as error:
        raise Invalid(f"ps_args: {error}", field="ps_args") from None
    return ["-q", ",".join(map(str, pids)), *_columns(words)]


def _columns(words: list[str]) -> Iterator[str]:
    rest = iter([part for word in words for part in _parted(word)])
    for word in rest:
        if word in ("-o", "-O", "o", "O", "--format"):
            yield from (word, _format(next(rest, "")))
        elif word.startswith(("-o", "-O")):
            yield from (word[:2], _format(word[2:]))
        elif word.startswith("--format="):
            yield f"--format={_format(word.partition('=')[2])}"
        elif _LONG.match(word):
            yield word
        elif word.startswith("-") and set(word[1:]) <= _UNIX_COLUMNS | _UNIX_SELECTION and word != "-":
            kept = "".join(letter for letter in word[1:] if letter in _UNIX_COLUMNS)
            if kept:
                yield f"-{kept}"
        elif set(word) <= _BSD_COLUMNS | _BSD_SELECTION:
            kept = "".join(letter for letter in word if letter in _BSD_COLUMNS)
            if kept:
                yield kept
        else:
            raise Invalid(f"ps_args: {word!r} is not supported", field="ps_args")


def _parted(word: str) -> list[str]:
    """-eo as -e -o, and axo as ax o: what it ends in takes the columns that follow."""
    found = _CLUSTER.match(word)
    return [word] if found is None else [f"{found[1]}{found[2]}", f"{found[1]}{found[3]}"]


def _format(text: str) -> str:
    if not _FORMAT.match(text):
        raise Invalid(f"ps_args: {text[:80]!r} is not a list of columns", field="ps_args")
    return text


def is_dated(wanted: str) -> bool:
    """Whether there is a column of whole dates, the only ones with blanks in them."""
    return "lstart" in wanted


def table(output: str, *, is_dated: bool = False) -> ProcessTable:
    """What ps printed, as a table: the last column takes all that is left of a line. Invalid when it complained."""
    lines = [line for line in output.splitlines() if line.strip()]
    if not lines:
        return ProcessTable(())
    if lines[0] != lines[0].upper():  # titles are in capitals, complaints are not
        raise Invalid(f"ps_args: {lines[0].strip()}", field="ps_args")
    titles = tuple(lines[0].split())
    lengths = [_DATE if is_dated and title == "STARTED" else 1 for title in titles[:-1]]
    return ProcessTable(titles, tuple(_cells(line, lengths) for line in lines[1:]))


def _cells(line: str, lengths: Sequence[int]) -> tuple[str, ...]:
    cells, rest = [], line
    for length in lengths:
        *words, rest = [*rest.split(None, length), ""][: length + 1]
        cells.append(" ".join(words))
    return (*cells, rest.strip())

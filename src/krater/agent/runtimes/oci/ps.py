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
_LONG: Final = re.compile(r"^--sort=[A-Za-z0-9_%,+-]+$")
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
    rest = iter(words)
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


def _format(text: str) -> str:
    if not _FORMAT.match(text):
        raise Invalid(f"ps_args: {text[:80]!r} is not a list of columns", field="ps_args")
    return text


def table(output: str) -> ProcessTable:
    """What ps printed, as a table: the last column takes all that is left of a line. Invalid when it complained."""
    lines = [line for line in output.splitlines() if line.strip()]
    if not lines:
        return ProcessTable(())
    if lines[0] != lines[0].upper():  # titles are in capitals, complaints are not
        raise Invalid(f"ps_args: {lines[0].strip()}", field="ps_args")
    titles = tuple(lines[0].split())
    rows = (tuple(line.split(None, len(titles) - 1)) for line in lines[1:])
    return ProcessTable(titles, tuple(row + ("",) * (len(titles) - len(row)) for row in rows))

"""Text for people (tables that fit the terminal, panels) and for programs (JSON).

Written by hand: rich's tables cost 40 ms of imports, which is as much as everything else `krater ps` does.
"""

import json
import os
import re
import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import IO, Any

GAP = 2
COLORS = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "magenta": "35", "cyan": "36", "grey": "90"}

# What would move the cursor or turn the writing direction: a tenant's label must not rewrite an operator's screen.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Column:
    """One column. It is not made narrower than `least` (None: than its content); columns with the highest `rank` are
    left out first when even that does not fit, those with rank 0 never are. `shorten` cuts what is too wide."""

    title: str
    value: Callable[[Any], str]
    least: int | None = None
    rank: int = 0
    right: bool = False
    color: Callable[[Any], str | None] = lambda row: None
    shorten: Callable[[str, int], str] | None = None


def safe(text: str) -> str:
    """The text on one line, without anything a terminal would obey."""
    return _UNSAFE.sub("\N{REPLACEMENT CHARACTER}", text.replace("\n", " ").replace("\t", " "))


def width_of(text: str) -> int:
    """How many cells of a terminal the text takes."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) != 0 for c in text)


def cut(text: str, width: int) -> str:
    """The text, its end replaced by an ellipsis where it is longer than `width`."""
    if width_of(text) <= width:
        return text
    kept = text[: max(0, width - 1)]
    while kept and width_of(kept) > width - 1:
        kept = kept[:-1]
    return kept + "…" if width > 0 else ""


def cut_owner(text: str, width: int) -> str:
    """Of CAPSULE/MEMBER, the capsule is cut: its members are told apart by what comes after."""
    owner, slash, name = text.rpartition("/")
    room = width - width_of(name) - 1
    return f"{cut(owner, room)}/{name}" if slash and room > 1 else cut(text, width)


def terminal_width(stream: IO[str]) -> int | None:
    """How wide the terminal is; None, without limit, where the stream is none."""
    return shutil.get_terminal_size().columns if stream.isatty() else None


def is_colored(stream: IO[str]) -> bool:
    """Whether colours are welcome there (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def table(rows: Sequence[Any], columns: Sequence[Column], width: int | None, *, colored: bool = False) -> list[str]:
    """Lines of a table no wider than `width`: wide columns give way first, then unimportant ones are left out."""
    cells = {c.title: [safe(c.value(row)) for row in rows] for c in columns}
    natural = {c.title: max(map(width_of, [c.title, *cells[c.title]])) for c in columns}
    shown = _chosen(columns, natural, width)
    widths = _fitted(shown, natural, width)
    lines = [_line([(c.title, c, widths[c.title], None) for c in shown])]
    for number, row in enumerate(rows):
        parts = [(cells[c.title][number], c, widths[c.title], c.color(row) if colored else None) for c in shown]
        lines.append(_line(parts))
    return lines


def _least(column: Column, natural: int) -> int:
    return natural if column.least is None else min(natural, max(column.least, len(column.title)))


def _chosen(columns: Sequence[Column], natural: dict[str, int], width: int | None) -> list[Column]:
    shown = list(columns)
    while width is not None:
        needed = sum(_least(c, natural[c.title]) + GAP for c in shown) - GAP
        droppable = [c for c in shown if c.rank]
        if needed <= width or not droppable:
            break
        shown.remove(max(droppable, key=lambda c: c.rank))
    return shown


def _fitted(columns: Sequence[Column], natural: dict[str, int], width: int | None) -> dict[str, int]:
    if width is None:
        return {c.title: natural[c.title] for c in columns}
    widths = {c.title: min(natural[c.title], width) for c in columns}
    least = {c.title: min(_least(c, natural[c.title]), width) for c in columns}
    room = width - GAP * (len(columns) - 1)
    while sum(widths.values()) > room:
        elastic = [title for title in widths if widths[title] > least[title]]
        if elastic:
            widths[max(elastic, key=widths.__getitem__)] -= 1
        elif max(widths.values()) > 1:  # too narrow for the most important columns even
            widths[max(widths, key=widths.__getitem__)] -= 1
        else:
            break
    return widths


def _line(parts: Sequence[tuple[str, Column, int, str | None]]) -> str:
    texts = []
    for text, column, width, color in parts:
        shown = (column.shorten or cut)(text, width)
        space = " " * (width - width_of(shown))
        shown = paint(shown, color)
        texts.append(space + shown if column.right else shown + space)
    return (" " * GAP).join(texts).rstrip()


def paint(text: str, color: str | None) -> str:
    """The text in a colour of COLORS."""
    return f"\x1b[{COLORS[color]}m{text}\x1b[0m" if color and text else text


def panel(pairs: Iterable[tuple[str, str | Sequence[str]]], width: int | None) -> list[str]:
    """Lines of names and values; a value may be several lines. Empty values are left out."""
    kept = [(name, [value] if isinstance(value, str) else [*value]) for name, value in pairs if value]
    indent = max((len(name) for name, _ in kept), default=0) + GAP
    lines = []
    for name, values in kept:
        pieces = [piece for value in values for piece in _wrapped(safe(value), width and width - indent)]
        for number, piece in enumerate(pieces):
            lines.append((name.ljust(indent) if number == 0 else " " * indent) + piece)
    return lines


def _wrapped(text: str, width: int | None) -> list[str]:
    """The text in pieces that fit, broken at spaces where there are some."""
    if width is None or width < 10 or width_of(text) <= width:
        return [text]
    import textwrap

    return textwrap.wrap(text, width, break_on_hyphens=False) or [text]


def show_table(rows: Sequence[Any], columns: Sequence[Column]) -> None:
    """Print a table."""
    print("\n".join(table(rows, columns, terminal_width(sys.stdout), colored=is_colored(sys.stdout))))


def show_rows(rows: Sequence[Any], columns: Sequence[Column], form: str) -> None:
    """Print them as JSON when `form` says so, else as a table."""
    show_json(rows) if form == "json" else show_table(rows, columns)


def show_panel(pairs: Iterable[tuple[str, str | Sequence[str]]]) -> None:
    """Print a panel."""
    print("\n".join(panel(pairs, terminal_width(sys.stdout))))


def show_json(document: object) -> None:
    """Print what the API answered."""
    print(json.dumps(document, indent=2))

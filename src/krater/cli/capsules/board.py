"""What each member of a capsule is doing, while somebody waits: on stderr, so that output in pipes stays clean."""

import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from krater.cli.progress import Progress, frames
from krater.cli.tables import cut, is_colored, paint, safe, width_of

_PATIENCE = 0.2  # what is over sooner would only flicker


@dataclass(frozen=True, slots=True)
class Row:
    """What one of them is doing."""

    name: str
    words: str
    color: str | None = None


class Board:
    """Lines that change on a terminal, one for each member; elsewhere a line for each thing that takes long."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._is_terminal = sys.stderr.isatty()
        self._begun = time.monotonic()
        self._drawn = 0
        self._turn = 0
        self._logs: dict[str, Progress] = {}

    def show(self, title: str, rows: Sequence[Row]) -> None:
        """What they do now; `title` is above them. Called again and again, it moves."""
        if not self._is_terminal:
            for row in rows:
                self._logs.setdefault(row.name, Progress()).say(f"{self._name}/{row.name}: {row.words}")
            return
        passed = time.monotonic() - self._begun
        if passed >= _PATIENCE:
            self._turn += 1
            shapes = frames()
            self._draw(f"{shapes[self._turn % len(shapes)]} {safe(title)}  {passed:.0f}s", rows)

    def _draw(self, title: str, rows: Sequence[Row]) -> None:
        size = shutil.get_terminal_size()
        room, width, colored = max(2, size.lines - 1), max(20, size.columns - 1), is_colored(sys.stderr)
        shown = rows if len(rows) < room else rows[: room - 2]
        longest = max((width_of(safe(row.name)) for row in shown), default=0)
        lines = [cut(title, width)]
        for row in shown:
            name = safe(row.name)
            name = "  " + name + " " * (longest - width_of(name) + 2)
            words = cut(safe(row.words), width - width_of(name))
            lines.append(cut(name, width) + paint(words, row.color if colored else None))
        if len(shown) < len(rows):
            lines.append(f"  … and {len(rows) - len(shown)} more")
        sys.stderr.write(self._erased() + "\n".join(lines))
        sys.stderr.flush()
        self._drawn = len(lines)

    def _erased(self) -> str:
        up = f"\x1b[{self._drawn - 1}A" if self._drawn > 1 else ""
        return f"\r{up}\x1b[J" if self._drawn else ""

    def clear(self) -> None:
        """Take the lines away."""
        if self._drawn:
            sys.stderr.write(self._erased())
            sys.stderr.flush()
            self._drawn = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

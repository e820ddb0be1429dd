"""What is being waited for, on stderr, so that output in pipes stays clean."""

import sys
import time
from collections import deque
from types import TracebackType
from typing import Self

from krater.cli.tables import cut, safe, terminal_width

_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_PLAIN_FRAMES = "-\\|/"

# What is over sooner than this is not worth a line: on a terminal it would flicker, in a log it would be noise.
_TERMINAL_PATIENCE, _LOG_PATIENCE = 0.2, 2.0

# A node that tries the same again and again goes to and fro between a few of these: each is told once.
_REMEMBERED = 16


def frames() -> str:
    """What is shown one after the other, so that it moves."""
    return _FRAMES if (sys.stderr.encoding or "").lower().startswith("utf") else _PLAIN_FRAMES


class Progress:
    """One line that changes on a terminal; elsewhere a line for each thing that takes long."""

    def __init__(self) -> None:
        self.is_terminal = sys.stderr.isatty()
        self._begun = time.monotonic()
        self._text = ""
        self._text_since = self._begun
        self._printed = ""
        self._told: deque[str] = deque(maxlen=_REMEMBERED)
        self._frame = 0

    def say(self, text: str) -> None:
        """What is being waited for now. Called again and again, it moves."""
        now = time.monotonic()
        text = safe(text)
        if text != self._text:
            self._text, self._text_since = text, now
        if self.is_terminal:
            if now - self._begun >= _TERMINAL_PATIENCE:
                self._draw(f"{text}  {now - self._begun:.0f}s")
        elif now - self._text_since >= _LOG_PATIENCE and text not in self._told:
            self._told.append(text)
            print(text, file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """A line that stays."""
        self.clear()
        print(safe(text), file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Take the line away."""
        if self.is_terminal and self._printed:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._printed = ""

    def _draw(self, text: str) -> None:
        shapes = frames()
        self._frame = (self._frame + 1) % len(shapes)
        width = (terminal_width(sys.stderr) or 80) - 3
        self._printed = text
        sys.stderr.write(f"\r\x1b[K{shapes[self._frame]} {cut(text, width)}")
        sys.stderr.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

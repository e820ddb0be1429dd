"""Ctrl-C twice: the first asks, the second insists."""

import os
import select
import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """While it is entered, the first SIGINT or SIGTERM ends the current `sleep` and calls `on_first` there, between two
    requests and not in the middle of one; the second is a KeyboardInterrupt wherever the program is."""

    def __init__(self) -> None:
        self.on_first: Callable[[], None] | None = None
        self._count = 0
        self._previous: dict[signal.Signals, object] = {}
        self._reader, self._writer = -1, -1

    def sleep(self, seconds: float) -> None:
        """Wait, or less when interrupted."""
        if select.select([self._reader], [], [], seconds)[0]:
            os.read(self._reader, 1)
            if self.on_first is None:
                raise KeyboardInterrupt
            self.on_first()

    @property
    def descriptor(self) -> int:
        """Readable once it was interrupted: then `sleep` does what is to be done."""
        return self._reader

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        if self._count > 1:
            raise KeyboardInterrupt
        os.write(self._writer, b"!")

    def __enter__(self) -> Self:
        self._reader, self._writer = os.pipe()
        for number in _SIGNALS:
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, previous in self._previous.items():
            signal.signal(number, previous)  # type: ignore[arg-type]
        os.close(self._reader)
        os.close(self._writer)

"""A console at this terminal: what is typed goes in, what comes out is written, and the terminal is restored."""

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

import click

from krater.cli.detaching import DetachKeys
from krater.cli.interrupts import Interrupts
from krater.client.console import STDERR, Console

_PIECE = 65536


@dataclass(frozen=True, slots=True)
class Spoken:
    """How it ended. Neither `detached` nor `over`: the connection was lost."""

    detached: bool
    over: bool
    exit_code: int | None
    refused: str


def window_size() -> tuple[int, int] | None:
    """Rows and columns of this terminal."""
    for descriptor in (1, 0, 2):
        with contextlib.suppress(OSError):
            size = os.get_terminal_size(descriptor)
            if size.lines and size.columns:
                return size.lines, size.columns
    return None


def check_terminal(tty: bool, interactive: bool) -> None:
    """A terminal inside is of no use to a program that writes into ours from a pipe."""
    if tty and interactive and not os.isatty(0):
        raise click.UsageError("-i and -t together need a terminal as input; for a pipe, -i alone is right.")


def converse(
    console: Console, *, tty: bool, interactive: bool, keys: bytes = b"", interrupts: Interrupts | None = None
) -> Spoken:
    """Until the process ends, the keys are typed, or the connection is lost."""
    with console, _raw(tty and interactive), _Bell() as bell:
        if tty:
            _tell_size(console)
        reader = threading.Thread(target=_write_all, args=(console, bell), daemon=True)
        reader.start()
        hands = _Hands(console, bell, DetachKeys(keys), interrupts)
        detached = hands.work(tty=tty, interactive=interactive)
        if not detached:
            reader.join()
        return Spoken(detached, console.is_over, console.exit_code, console.refused)


class _Bell:
    """Wakes who waits for input: when the window changed, and when all has been said."""

    def __enter__(self) -> "_Bell":
        self.reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._previous = signal.signal(signal.SIGWINCH, self._resized)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGWINCH, self._previous)
        os.close(self.reader)
        self._writer, writer = -1, self._writer
        os.close(writer)

    def _resized(self, number: int, frame: FrameType | None) -> None:
        self.ring(b"w")

    def ring(self, what: bytes) -> None:
        """Wake them."""
        with contextlib.suppress(OSError):
            os.write(self._writer, what)


def _write_all(console: Console, bell: _Bell) -> None:
    try:
        for stream, content in console.outputs():
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(2 if stream == STDERR else 1, rest) :]
    except OSError:
        pass  # nobody reads us any more
    finally:
        bell.ring(b"e")


@dataclass(frozen=True, slots=True)
class _Hands:
    """What comes from this side."""

    console: Console
    bell: _Bell
    keys: DetachKeys
    interrupts: Interrupts | None

    def work(self, *, tty: bool, interactive: bool) -> bool:
        """Hand on what is typed until all has been said. Whether the keys were typed instead."""
        asked = self.interrupts.descriptor if self.interrupts is not None else self.bell.reader
        watched = [self.bell.reader, asked, *([0] if interactive else [])]
        while True:
            ready, _, _ = select.select(watched, [], [])
            if self.interrupts is not None and asked in ready:
                self.interrupts.sleep(0)
            if self.bell.reader in ready:
                if b"e" in os.read(self.bell.reader, 64):
                    return False
                if tty:
                    _tell_size(self.console)
            if 0 in ready:
                typed = os.read(0, _PIECE)
                if self._hand_on(typed, tty=tty):
                    return True
                if not typed:
                    watched.remove(0)

    def _hand_on(self, typed: bytes, *, tty: bool) -> bool:
        content, is_detached = self.keys.feed(typed) if tty else (typed, False)
        if content:
            self.console.send(content)
        if not typed:
            self.console.end_input()
        return is_detached


def _tell_size(console: Console) -> None:
    size = window_size()
    if size is not None:
        console.resize(*size)


@contextlib.contextmanager
def _raw(wanted: bool) -> Iterator[None]:
    """This terminal as a wire, and as it was again afterwards, however that comes."""
    if not wanted or not os.isatty(0):
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(0)

    def restore() -> None:
        termios.tcsetattr(0, termios.TCSADRAIN, before)

    def end(number: int, _: FrameType | None) -> None:
        restore()
        sys.exit(128 + number)

    previous = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        tty.setraw(0, termios.TCSADRAIN)  # what was typed ahead stays
        yield
    finally:
        restore()
        for number, handler in previous.items():
            signal.signal(number, handler)

"""Processes of the fake engine, as one who attaches to them sees them."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from krater.agent.runtimes.fake_programs import KILLED, Program
from krater.model.frames import STDERR, STDOUT

_MOST_KEPT: Final = 64 * 1024
_NOT_FOUND: Final = 127

Piece = tuple[int, bytes]


class FakeProcess:
    """A program with streams. `ended` is told when it ends because its input did."""

    def __init__(
        self, program: Program, *, tty: bool, ended: Callable[[int], None], size: tuple[int, int] = (24, 80)
    ) -> None:
        self.tty = tty
        self.size = size
        self.exit_code: int | None = None
        self.over = asyncio.Event()
        self._program = program
        self._ended = ended
        self._readers: set[FakeStream] = set()
        self._beginning = b""

    def join(self, stream: "FakeStream") -> None:
        """One more who reads; the first gets what was said before."""
        self._readers.add(stream)
        if self._beginning:
            stream.give((STDOUT, self._beginning))
            self._beginning = b""

    def leave(self, stream: "FakeStream") -> None:
        """One less."""
        self._readers.discard(stream)

    def say(self, content: bytes, stream: int = STDOUT) -> None:
        """Write to all who read."""
        if not content:
            return
        if not self._readers:
            self._beginning = (self._beginning + content)[-_MOST_KEPT:]
        for reader in self._readers:
            reader.give((stream, content))

    def hear(self, content: bytes) -> None:
        """Input."""
        if self._program.copies:
            self.say(content)

    def hear_end(self) -> None:
        """No more input."""
        if self._program.copies and not self.over.is_set():
            self._ended(0)

    def end(self, exit_code: int) -> None:
        """It ends."""
        if not self.over.is_set():
            self.exit_code = exit_code
            self.over.set()
            for reader in self._readers:
                reader.wake()


class FakeStream:
    """Implements `Stream`. `owned` ones end their process when they are closed."""

    def __init__(self, process: FakeProcess, *, takes_input: bool, owned: bool) -> None:
        self.tty = process.tty
        self._process = process
        self._takes_input = takes_input
        self._owned = owned
        self._pieces: list[Piece] = []
        self._news = asyncio.Event()
        self._closed = False
        process.join(self)

    def give(self, piece: Piece) -> None:
        """Something was written."""
        self._pieces.append(piece)
        self._news.set()

    def wake(self) -> None:
        """Something happened."""
        self._news.set()

    async def read(self) -> Sequence[Piece]:
        """What was written."""
        while not self._pieces and not self._process.over.is_set() and not self._closed:
            self._news.clear()
            await self._news.wait()
        found, self._pieces = self._pieces, []
        return found

    async def write(self, content: bytes) -> None:
        """Hand it on."""
        await asyncio.sleep(0)
        if self._takes_input:
            self._process.hear(content)

    def end_input(self) -> None:
        """A terminal has no end."""
        if self._takes_input and not self.tty:
            self._process.hear_end()

    def resize(self, rows: int, columns: int) -> None:
        """Remember it."""
        self._process.size = (rows, columns)

    async def wait(self) -> int | None:
        """The exit code, if it has ended."""
        return self._process.exit_code

    async def close(self) -> None:
        """Let go, or end it."""
        self._closed = True
        self._process.leave(self)
        self.wake()
        if self._owned:
            self._process.end(KILLED)


def executed(
    program: Program, command: tuple[str, ...], tty: bool, size: tuple[int, int] | None, container_ended: asyncio.Event
) -> FakeStream:
    """A command beside the container's own process."""
    process = FakeProcess(program, tty=tty, ended=lambda code: process.end(code), size=size or (24, 80))  # noqa: PLW0108
    stream = FakeStream(process, takes_input=True, owned=True)
    if program.refusal is not None:
        process.say(f"{command[0]}: not found\n".encode(), STDERR)
        process.end(_NOT_FOUND)
    elif command[0] == "stty":
        process.say(b"%d %d\n" % process.size)
        process.end(0)
    else:
        asyncio.ensure_future(_live(process, program, container_ended))  # noqa: RUF006 -- it ends with its process
    return stream


async def _live(process: FakeProcess, program: Program, container_ended: asyncio.Event) -> None:
    process.say(program.output)
    waits = [asyncio.ensure_future(process.over.wait()), asyncio.ensure_future(container_ended.wait())]
    done, _ = await asyncio.wait(waits, timeout=program.seconds, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    process.end(KILLED if waits[1] in done else program.exit_code)

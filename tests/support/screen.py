"""A program at a terminal of its own, as a person has it."""

import os
import pty
import re
import select
import signal
import struct
import subprocess
import time
from fcntl import ioctl
from termios import TIOCSWINSZ, tcgetattr


class Screen:
    """A program at a terminal of its own."""

    def __init__(self, words: list[str], environment: dict[str, str], rows: int = 24, columns: int = 80) -> None:
        self.ours, theirs = pty.openpty()
        self.before = tcgetattr(theirs)
        self.theirs = theirs
        self.resize(rows, columns)
        self.process = subprocess.Popen(
            words, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
        )
        self.seen = ""

    def resize(self, rows: int, columns: int) -> None:
        """Another size of its window."""
        ioctl(self.ours, TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        if hasattr(self, "process"):
            self.process.send_signal(signal.SIGWINCH)

    def type(self, text: str) -> None:
        """Press these keys."""
        os.write(self.ours, text.encode())

    def until(self, pattern: str, within: float = 30.0) -> str:
        """Wait until it shows something; what it showed since the last time."""
        deadline = time.monotonic() + within
        while not (found := re.search(pattern, self.seen)):
            assert time.monotonic() < deadline, f"{pattern!r} was not shown: {self.seen!r}"
            if select.select([self.ours], [], [], 0.2)[0]:
                self.seen += os.read(self.ours, 65536).decode(errors="replace")
        shown, self.seen = self.seen[: found.end()], self.seen[found.end() :]
        return shown

    def ended(self) -> int:
        """Its exit code; the terminal must be as it was."""
        code = self.process.wait(30)
        assert tcgetattr(self.theirs) == self.before, "the terminal was not restored"
        os.close(self.ours)
        os.close(self.theirs)
        return code

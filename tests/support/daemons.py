"""The image store's daemon of one Krater, to be hurt: stopped, killed, kept from starting."""

import os
import shutil
import signal
from pathlib import Path

from tests.support.server import Server


class Daemon:
    """The containerd of a server. `prevent` works from the server's next start on, or before its first."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._programs = server.directory / "programs"
        self._programs.mkdir(exist_ok=True)
        self.allow()
        server.variables["PATH"] = f"{self._programs}:{os.environ['PATH']}"

    @property
    def pid(self) -> int:
        """Its number, from its own directory: never somebody else's."""
        directory = self._server.directory / "engine" / "containerd"
        pid = int((directory / "pid").read_text())
        assert f"{directory}/config.toml" in Path(f"/proc/{pid}/cmdline").read_text()
        return pid

    def prevent(self) -> None:
        """Whoever starts it sees it fail."""
        self._write("exit 1")

    def allow(self) -> None:
        """It can be started."""
        self._write(f'exec {shutil.which("containerd")} "$@"')

    def _write(self, line: str) -> None:
        path = self._programs / "containerd"
        path.with_suffix(".new").write_text(f"#!/bin/sh\n{line}\n")
        path.with_suffix(".new").chmod(0o755)
        path.with_suffix(".new").replace(path)

    def kill(self) -> None:
        """`kill -9`."""
        os.kill(self.pid, signal.SIGKILL)

    def freeze(self) -> int:
        """It does not answer any more, though it is there; its number, for `thaw`."""
        pid = self.pid
        os.kill(pid, signal.SIGSTOP)
        return pid

    def thaw(self) -> None:
        """It answers again."""
        os.kill(self.pid, signal.SIGCONT)

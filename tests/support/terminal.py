"""The command line as a person at a terminal, or a program at a pipe, has it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from krater.cli.main import main


@dataclass(frozen=True)
class Ended:
    """How a call of `krater` ended."""

    code: int
    out: str
    err: str


class Terminal:
    """Calls `krater` in this process, for one server."""

    def __init__(self, url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys = capsys
        self._monkeypatch = monkeypatch
        for name in [name for name in os.environ if name.startswith("KRATER_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("KRATER_URL", url)
        monkeypatch.setenv("KRATER_USERNAME", "ann")
        monkeypatch.setenv("KRATER_PASSWORD", "secret")
        monkeypatch.setenv("XDG_CONFIG_HOME", "/nonexistent")

    def __call__(self, *words: str) -> Ended:
        self._capsys.readouterr()
        try:
            code = main(words)
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        captured = self._capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    @contextmanager
    def wide(self, columns: int) -> Iterator[None]:
        """As if stdout were a terminal of that width."""
        with self._monkeypatch.context() as patch:
            patch.setattr(sys.stdout, "isatty", lambda: True)
            patch.setenv("COLUMNS", str(columns))
            patch.setenv("NO_COLOR", "1")
            yield


def start_krater(url: str, *words: str) -> subprocess.Popen[str]:
    """A `krater` of its own, to send signals to."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("KRATER_")}
    login = {"KRATER_URL": url, "KRATER_USERNAME": "ann", "KRATER_PASSWORD": "secret"}
    return subprocess.Popen(
        [sys.executable, "-m", "krater", *words],
        env={**environ, **login},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

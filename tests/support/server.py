"""A real `krater serve` in directories of its own, for tests that judge the whole."""

import contextlib
import errno
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from krater.client import Client, NotNow, find_access

T = TypeVar("T")

BIN = Path(sys.executable).parent
CLIENTS = Path(__file__).parents[2] / ".venv-clients" / "bin"


def free_port() -> int:
    """A TCP port of the loopback address that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(ask: Callable[[], T], *, within: float = 20.0, what: str = "it") -> T:
    """Ask until the answer is true; the answer. Fails with the last answer after `within` seconds."""
    deadline = time.monotonic() + within
    while True:
        answer = ask()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"{what} did not come true within {within} s; last answer: {answer!r}"
        time.sleep(0.05)


class Range:
    """The addresses of one Krater, 10.`second`.0.0/16: no other on this machine has them until this is closed.

    A name that the kernel keeps tells the others, of this process and of those beside it, and goes with its process.
    """

    def __init__(self) -> None:
        for self.second in random.sample(range(100, 200), 100):
            self._claim = socket.socket(socket.AF_UNIX)
            try:
                self._claim.bind(f"\0krater-tests-range-{self.second}")
            except OSError as problem:
                self._claim.close()
                if problem.errno != errno.EADDRINUSE:
                    raise
            else:
                return
        raise AssertionError("a hundred Kraters of tests run on this machine")

    def close(self) -> None:
        """Let others have it."""
        self._claim.close()


class Server:
    """One Krater: started, killed and started again as a test likes; `clear` leaves nothing of it."""

    def __init__(self, *settings: str, fake: bool = False, ipv6: bool = False) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="kr-", dir="/tmp"))
        self.port = free_port()
        self.instance = f"t{secrets.token_hex(3)}"
        self.fake = fake
        self._range = Range()
        self.settings = [
            f"api.port={self.port}",
            "gateway.port=0",
            f"core.run_directory={self.directory}/run",
            f"core.instance={self.instance}",
            f"network.pool=10.{self._range.second}.0.0/16",
            "scheduler.memory_ratio=16",
            "registries.reachable=127.0.0.0/8",  # where the tests' own registries are
            *([f"network.pool_v6=fd4b:{self._range.second}::/48"] if ipv6 else []),
            *settings,
        ]
        self.child: subprocess.Popen[bytes] | None = None
        self.variables: dict[str, str] = {}
        self.program = [str(BIN / "krater")]
        self.log = self.directory / "serve.log"

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def options(self) -> list[str]:
        """The options of every operator command that is about this Krater."""
        words = ["--directory", str(self.directory)]
        for setting in self.settings:
            words += ["--set", setting]
        return words

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start the process without waiting for it to answer."""
        with self.log.open("ab") as log:
            command = [*self.program, "serve", *self.options, *(["--fake"] if self.fake else [])]
            environment = {**os.environ, **self.variables}
            return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment)

    def start(self) -> "Server":
        """Start it and wait until it answers and its node is there."""
        self.child = self.spawn()
        eventually(self._answers, within=30, what="Krater answering")
        return self

    def _answers(self) -> bool:
        assert self.child is not None
        assert self.child.poll() is None, f"krater serve ended: {self.log.read_text()[-4000:]}"
        with contextlib.suppress(Exception):
            return bool(self.client().hosts.list())
        return False

    def kill(self) -> None:
        """`kill -9`, wherever it is."""
        assert self.child is not None
        self.child.send_signal(signal.SIGKILL)
        self.child.wait()

    def reached(self, container: str) -> Client:
        """Wait until a container's node can be asked: not while the engine of a Krater just started is not open yet."""
        client = self.client()

        def answers() -> bool:
            with contextlib.suppress(NotNow):
                return client.containers.execute(container, ["true"])["exit_code"] == 0
            return False

        eventually(answers, what="the node answering")
        return client

    def stop(self) -> int:
        """Ask it to end; its exit code."""
        assert self.child is not None
        self.child.terminate()
        return self.child.wait(timeout=20)

    def clear(self) -> None:
        """End it and leave nothing of it on the machine."""
        if self.child is not None and self.child.poll() is None:
            self.stop()
        if not self.fake:
            self.operator("node", "clear", *self.options)
        shutil.rmtree(self.directory)
        self._range.close()

    def client(self) -> Client:
        """The administrator's client."""
        return Client.from_access(find_access(client_file=str(self.directory / "client.yaml"), environ={}))

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a user of this Krater."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("OS_", "KRATER_"))}
        return {**kept, "KRATER_CLIENT_FILE": str(self.directory / "client.yaml"), "COLUMNS": "120"}

    def operator(self, *words: str) -> str:
        """Run an operator command of `krater`; its output."""
        return run(BIN / "krater", *words, environment=self.environment).stdout

    def krater(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a user's command of `krater`."""
        return run(BIN / "krater", *words, environment=self.environment, check=check)

    def openstack(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the unmodified `openstack` client, through the ready clouds.yaml."""
        extra = {"OS_CLIENT_CONFIG_FILE": str(self.directory / "clouds.yaml"), "OS_CLOUD": "krater"}
        return run(CLIENTS / "openstack", *words, environment={**self.environment, **extra}, check=check)

    def zun(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the unmodified `zun` client, with the ready OS_* variables."""
        return run(CLIENTS / "zun", *words, environment={**self.environment, **self.openrc()}, check=check)

    def openrc(self) -> dict[str, str]:
        """The variables that the ready `openrc` file sets."""
        shell = subprocess.run(
            ["bash", "-c", f"set -a; . {self.directory}/openrc; {sys.executable} -c "
             "'import json, os; print(json.dumps(dict(os.environ)))'"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return {k: v for k, v in json.loads(shell.stdout).items() if k.startswith("OS_")}

    def import_busybox(self) -> None:
        """Put the tests' image into its store."""
        archive = self.directory / "busybox.tar"
        run(
            sys.executable,
            Path(__file__).parents[2] / "tools" / "busybox_image.py",
            archive,
            environment=dict(os.environ),
        )
        self.operator("node", "import", str(archive), *self.options)


def run(
    program: Path | str, *words: Any, environment: dict[str, str], check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run a program; when `check`, its failure is the test's, with all that it printed."""
    done = subprocess.run(
        [str(program), *map(str, words)], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert not check or done.returncode == 0, f"{program} {words}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


@contextlib.contextmanager
def serving(*settings: str, fake: bool = False, ipv6: bool = False) -> Iterator[Server]:
    """A started Krater with the tests' image, cleared away at the end."""
    server = Server(*settings, fake=fake, ipv6=ipv6)
    try:
        server.start()
        if not fake:
            server.import_busybox()
        yield server
    finally:
        server.clear()

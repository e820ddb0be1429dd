"""The image store's daemon, when it is our own: started beside us, found again, started again when it dies.

It lives in a network namespace of its own, whose only way out is `gate/`.

It does not hang on us: a session of its own, no pipes to us, so it survives our `kill -9`. Containers do not hang on
it: while it is down they run on, and only images cannot be had.
"""

import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import structlog

from krater.agent.runtimes.oci.gate.gate import environment
from krater.agent.runtimes.oci.gate.space import in_new_space, is_apart
from krater.agent.runtimes.oci.processes import Identity, identify, on_exit, reap, send_signal
from krater.agent.runtimes.oci.registries import Trust, write_hosts
from krater.errors import Unavailable

# Without the engine of containers, file systems that are not used, metrics and tracing: it starts in 15 ms. The task
# plugins stay because the CRI plugin, of which only the image service is used, does not load without them.
DISABLED: Final = (
    "io.containerd.internal.v1.restart",
    "io.containerd.internal.v1.tracing",
    "io.containerd.internal.v1.opt",
    "io.containerd.monitor.v1.cgroups",
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.native",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.tracing.processor.v1.otlp",
)
LOG_LIMIT: Final = 8 * 1024 * 1024
READY_WITHIN: Final = 20.0
ENDS_WITHIN: Final = 10.0
FIRST_DELAY: Final = 0.2
LONGEST_DELAY: Final = 15.0
GOOD_LIFE: Final = 30.0

log = structlog.get_logger()


def configuration(directory: str, socket: str) -> str:
    """containerd's configuration file (version 2 of the format)."""
    disabled = "".join(f'  "{plugin}",\n' for plugin in DISABLED)
    return f"""version = 2
root = "{directory}/root"
state = "{directory}/state"
disabled_plugins = [
{disabled}]

[grpc]
  address = "{socket}"

[debug]
  level = "warn"

[plugins."io.containerd.grpc.v1.cri"]
  disable_tcp_service = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{directory}/none"
    conf_dir = "{directory}/none"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{directory}/registries"
"""


class Containerd:
    """Our own containerd, below one directory."""

    def __init__(self, directory: str, binary: str = "containerd", trust: Trust | None = None) -> None:
        self.directory = directory
        self._trust = trust or Trust()
        self.socket = f"{directory}/containerd.sock"
        self._binary = binary
        self._process: Identity | None = None
        self._unwatch: Callable[[], None] | None = None
        self._restarting: asyncio.Task[None] | None = None
        self._started = 0.0
        self._delay = FIRST_DELAY

    @property
    def up(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.alive

    @property
    def pid(self) -> int | None:
        """Its process's number, while it runs."""
        return self._process.pid if self._process is not None and self._process.alive else None

    async def open(self) -> None:
        """Find it running, or start it; watch it from now on."""
        if self._unwatch is not None:
            return
        await asyncio.to_thread(write_hosts, Path(self.directory, "registries"), self._trust)
        self._process = await asyncio.to_thread(self._found_or_started)
        self._watch()
        deadline = time.monotonic() + READY_WITHIN
        while not await self._listens():
            if not self.up or time.monotonic() > deadline:  # what ended is tried again, while others go on
                raise Unavailable(f"the image store (containerd) does not start; see {self.directory}/log")
            await asyncio.sleep(0.005)

    async def close(self) -> None:
        """Watch it no more. It goes on running."""
        if self._restarting is not None:
            self._restarting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._restarting
            self._restarting = None
        if self._unwatch is not None:
            self._unwatch()
            self._unwatch = None

    def end(self) -> None:
        """Stop the daemon; call it after `close`, or it is started again."""
        with self._alone():
            process = self._find()
            if process is not None:
                _end(process)

    def _watch(self) -> None:
        self._started = time.monotonic()
        if self._process is not None:
            self._unwatch = on_exit(self._process, self._on_exit)
        if self._unwatch is None:
            self._on_exit()

    def _on_exit(self) -> None:
        if time.monotonic() - self._started > GOOD_LIFE:
            self._delay = FIRST_DELAY
        log.error("the image store (containerd) ended; it is started again", delay=self._delay)
        self._restarting = asyncio.get_running_loop().create_task(self._restart())

    async def _restart(self) -> None:
        await asyncio.sleep(self._delay)
        self._delay = min(self._delay * 2, LONGEST_DELAY)
        try:
            self._process = await asyncio.to_thread(self._found_or_started)
        except OSError as error:
            log.error("the image store (containerd) cannot be started", error=str(error))
            self._process = None
        self._watch()

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_unix_connection(self.socket)
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        writer.close()
        return True

    def _find(self) -> Identity | None:
        """The daemon that an earlier life of ours started: the number in `pid`, if that is containerd with our file."""
        try:
            process = identify(int(Path(self.directory, "pid").read_text()))
            if process is None:
                return None
            arguments = Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return None
        return process if os.fsencode(f"{self.directory}/config.toml") in arguments else None

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """An agent and a command line may have the engine open at once: one of them starts the daemon, both use it."""
        (Path(self.directory) / "registries").mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(f"{self.directory}/lock", "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _found_or_started(self) -> Identity:
        with self._alone():
            found = self._find()
            if found is not None and not is_apart(found.pid):  # one of a Krater that did not guard it yet
                _end(found)
                found = None
            return found or self._start()

    def _start(self) -> Identity:
        directory = Path(self.directory)
        config = directory / "config.toml"
        config.write_text(configuration(self.directory, self.socket))
        journal = directory / "log"
        if journal.exists() and journal.stat().st_size > LOG_LIMIT:
            journal.replace(directory / "log.1")
        with open(journal, "ab") as out:
            child = in_new_space(
                lambda: subprocess.Popen(
                    [self._binary, "-c", str(config)],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    cwd="/",
                    env=environment(dict(os.environ)),
                    start_new_session=True,
                )
            )
        child.returncode = 0  # it outlives us and is reaped by its watch: Popen must not complain
        (directory / "pid").write_text(str(child.pid))
        # for an instant after its start a process has no arguments yet by which another engine would know it
        while (process := identify(child.pid)) is not None and self._find() is None:
            time.sleep(0.001)
        if process is None:
            reap(child.pid)
            return Identity(child.pid, 0)  # ended at once: the watch sees that and tries again
        return process


def _end(process: Identity) -> None:
    """Stop a daemon, and wait until it has."""
    send_signal(process, signal.SIGTERM)
    deadline = time.monotonic() + ENDS_WITHIN
    while process.alive:
        if time.monotonic() > deadline:
            send_signal(process, signal.SIGKILL)
        time.sleep(0.005)
    reap(process.pid)

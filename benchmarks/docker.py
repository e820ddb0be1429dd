"""The Docker reference: Debian's docker.io as a daemon of our own, far from any Docker of the machine.

It lives in a mount and a network namespace of its own, so that its default bridge, its packet filter rules and its
mounts (all as Docker sets them up by default) are real and yet touch nothing of the machine.
"""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO

from benchmarks import kernel, machine, timestamps
from benchmarks.contenders import COMMAND, CPUS, IMAGE, MEMORY_MIB, PATIENCE, PIDS, Container, Unmeasured

CONTAINERD = """version = 2
root = "{0}/containerd-root"
state = "{0}/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "{0}/containerd.sock"
"""


class DockerDaemon:
    """containerd and dockerd with directories, sockets, cgroup and network of their own."""

    def __init__(self, directory: Path, image: Path) -> None:
        self.directory = directory / "docker"
        self.socket = self.directory / "docker.sock"
        self.cgroup = f"krater-bench-docker-{os.getpid()}"
        self.environment = {
            "DOCKER_HOST": f"unix://{self.socket}",
            "HOME": str(self.directory),
            "PATH": os.environ["PATH"],
        }
        self.client = ""
        self._image = image
        self._cell: kernel.Cell | None = None
        self._running: list[subprocess.Popen[bytes]] = []

    def open(self) -> None:
        """Install Docker if need be, start it and give it the image. A second call does nothing."""
        if self._cell is not None:
            return
        dockerd = machine.ensure_package("docker.io", "dockerd")
        client = machine.ensure_package("docker.io", "docker")
        if dockerd is None or client is None:
            raise Unmeasured("Debian's docker.io is not installed and could not be installed")
        self.client = client
        self.directory.mkdir()
        self._cell = kernel.Cell(1, network=True)
        (self.directory / "containerd.toml").write_text(CONTAINERD.format(self.directory))
        (self.directory / "daemon.json").write_text("{}")
        self._cell.run(subprocess.run, ["ip", "link", "set", "lo", "up"], check=True)
        containerd = shutil.which("containerd") or "containerd"
        self._launch([containerd, "--config", str(self.directory / "containerd.toml")], "containerd.sock")
        command = [dockerd, "--config-file", str(self.directory / "daemon.json"), "-H", f"unix://{self.socket}"]
        command += ["--containerd", str(self.directory / "containerd.sock"), "-p", str(self.directory / "dockerd.pid")]
        command += ["--data-root", str(self.directory / "root"), "--exec-root", str(self.directory / "exec")]
        command += ["--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", f"/{self.cgroup}"]
        self._launch(command, self.socket.name)
        self.run("load", "--input", str(self._image))

    def _launch(self, command: list[str], socket_name: str) -> None:
        assert self._cell is not None
        log = self.directory / f"{Path(command[0]).name}.log"
        with log.open("wb") as output:
            process = self._cell.run(_daemon, command, output)
        self._running.append(process)
        deadline = time.monotonic() + PATIENCE
        while not _answers(self.directory / socket_name):
            if process.poll() is not None or time.monotonic() > deadline:
                raise Unmeasured(f"{log.stem} does not start here: {log.read_text()[-400:].strip()}")
            time.sleep(0.1)

    def run(self, *arguments: str) -> str:
        """Run the docker command; its output."""
        command = [self.client, *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"docker {arguments[0]}: {done.stderr.strip()[-400:]}")
        return done.stdout.strip()

    def log_path(self, container: str) -> Path:
        """Where the json-file log of a container is."""
        return self.directory / "root/containers" / container / f"{container}-json.log"

    def close(self) -> None:
        """Remove the containers, end the daemons and whatever of theirs is left, remove the cgroups."""
        if self._cell is None:
            return
        with contextlib.suppress(RuntimeError):
            if left := self.run("ps", "-aq").split():
                self.run("rm", "-f", *left)
        for process in reversed(self._running):
            process.terminate()
            process.wait()
        for pid in machine.family(str(self.directory), machine.processes()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._cell.close()
        self._cell = None
        machine.remove_cgroups(self.cgroup)


def _daemon(command: list[str], output: IO[bytes]) -> "subprocess.Popen[bytes]":
    """A process in a session of its own: Ctrl-C is for the benchmark, which then ends its daemons in order."""
    return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


class DockerRun:
    """`docker run -d` and `docker rm -f`, as people use it: the client's own time is part of it."""

    name = "docker run -d"

    def __init__(self, daemon: DockerDaemon, *, at_once: int) -> None:
        self.daemon = daemon
        self.directory = daemon.directory
        self._pool = ThreadPoolExecutor(at_once)

    def open(self) -> None:
        """Start the daemon, unless it runs."""
        self.daemon.open()

    def make_ready(self, count: int) -> None:
        """Docker has nothing that could be made ready."""

    def start(self) -> Future[Container]:
        """`docker run -d` with the same limits as the others have."""
        return self._pool.submit(self._start, time.time())

    def _start(self, asked: float) -> Container:
        limits = ["--cpus", str(CPUS), "--memory", f"{MEMORY_MIB}m", "--pids-limit", str(PIDS)]
        return Container(self.daemon.run("run", "-d", *limits, IMAGE, *COMMAND), asked)

    def seconds_to_run(self, container: Container) -> float:
        """By the time stamp in Docker's own log."""
        path = self.daemon.log_path(container.id)
        return timestamps.wait_for_line(path, timestamps.docker_time, PATIENCE) - container.asked

    def delete(self, container: Container) -> Future[float]:
        """`docker rm -f`, which kills at once."""
        return self._pool.submit(self._delete, container, time.time())

    def _delete(self, container: Container, asked: float) -> float:
        self.daemon.run("rm", "-f", container.id)
        return time.time() - asked

    def close(self) -> None:
        """End the daemon."""
        self._pool.shutdown()
        self.daemon.close()


class _SocketConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


class DockerApi(DockerRun):
    """The same daemon, asked through its API: what remains of `docker run -d` without the client program."""

    name = "docker's API"

    def _start(self, asked: float) -> Container:
        limits = {"NanoCpus": CPUS * 10**9, "Memory": MEMORY_MIB << 20, "PidsLimit": PIDS}
        body = {"Image": IMAGE, "Cmd": list(COMMAND), "HostConfig": limits}
        made = json.loads(self._ask("POST", "/containers/create", body))["Id"]
        self._ask("POST", f"/containers/{made}/start")
        return Container(made, asked)

    def _delete(self, container: Container, asked: float) -> float:
        self._ask("DELETE", f"/containers/{container.id}?force=true")
        return time.time() - asked

    def _ask(self, method: str, path: str, body: Mapping[str, object] | None = None) -> bytes:
        with contextlib.closing(_SocketConnection(self.daemon.socket)) as connection:
            text = json.dumps(body) if body is not None else None
            connection.request(method, path, text, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"docker: {method} {path}: {answer.status} {content[:300]!r}")
        return content

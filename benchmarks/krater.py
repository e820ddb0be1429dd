"""Krater under test: a `krater serve` of the benchmark's own, and its containers asked for through the REST API."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from benchmarks import machine, timestamps
from benchmarks.contenders import COMMAND, CPUS, IMAGE, MEMORY_MIB, PATIENCE, Container, Unmeasured

MICROVERSION = "container 1.40"
PROGRAM = Path(sys.executable).with_name("krater")

HUNG_UP_AFTER = 3.0  # seconds: the server lets nobody keep a connection who says nothing

# Nothing here makes Krater faster: the limits of one project and one machine are lifted, and its places are its own.
SETTINGS = {
    "quota.containers": "-1",
    "quota.cpu": "-1",
    "quota.memory": "-1",
    "quota.disk": "-1",
    "scheduler.cpu_ratio": "10000",
    "scheduler.memory_ratio": "10000",
    "network.pool": "10.99.0.0/16",
    "network.prefix": "21",
}


class KraterServer:
    """One `krater serve` in a directory of its own, and how to talk to it."""

    def __init__(self, directory: Path, *, fake: bool = False) -> None:
        self.directory = directory / ("fake" if fake else "krater")
        self.port = machine.free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.login: dict[str, str] = {}
        self.headers: dict[str, str] = {}
        self.instance = f"krb{os.getpid()}"[:10]
        self._fake = fake
        self._local = threading.local()

    @property
    def options(self) -> list[str]:
        """The options that make a Krater command mean this server."""
        own = {
            "core.run_directory": str(self.directory / "run"),
            "core.instance": self.instance,
            "api.port": str(self.port),
            "gateway.port": "0",
        }
        pairs = {**SETTINGS, **own}.items()
        return ["--directory", str(self.directory), *(word for k, v in pairs for word in ("--set", f"{k}={v}"))]

    @property
    def pid(self) -> int:
        """The serving process."""
        assert self.process is not None
        return self.process.pid

    def open(self) -> None:
        """Start it, wait until it answers, log in."""
        self.directory.mkdir()
        command = [str(PROGRAM), "serve", *self.options, *(["--fake"] if self._fake else [])]
        with (self.directory.parent / f"{self.directory.name}.log").open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise Unmeasured(f"krater serve does not answer: {self.last_words()}")
            time.sleep(0.1)
        lines = (self.directory / "client.yaml").read_text().splitlines()
        pairs = (line.partition(":")[::2] for line in lines if ":" in line and not line.startswith("#"))
        self.login = {key.strip(): json.loads(value) for key, value in pairs}
        self.headers = {"X-Auth-Token": self.token()}

    def last_words(self) -> str:
        """The end of what it wrote."""
        text = (self.directory.parent / f"{self.directory.name}.log").read_text(errors="replace")
        return text.strip()[-600:]

    def _answers(self) -> bool:
        try:
            return self.ask("GET", "/")[0] == 200
        except OSError:
            return False

    def token(self) -> str:
        """A token for the admin in the admin's project."""
        domain = {"id": "default"}
        user = {"name": self.login["username"], "password": self.login["password"], "domain": domain}
        scope = {"project": {"name": self.login["project"], "domain": domain}}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request(
                "POST", "/identity/v3/auth/tokens", json.dumps(body), {"Content-Type": "application/json"}
            )
            answer = connection.getresponse()
            content = answer.read()
        token = answer.getheader("X-Subject-Token")
        if token is None:
            raise RuntimeError(f"krater: no token: {answer.status} {content[:300]!r}")
        return token

    def basic(self) -> dict[str, str]:
        """Headers of HTTP Basic for the same account."""
        import base64

        word = base64.b64encode(f"{self.login['username']}:{self.login['password']}".encode()).decode()
        return {"Authorization": f"Basic {word}", "X-Krater-Project": quote(self.login["project"])}

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        """One request on this thread's connection: status and body."""
        connection = getattr(self._local, "connection", None)
        if connection is None or time.monotonic() - self._local.used > HUNG_UP_AFTER:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
            self._local.connection = connection
        headers = {"OpenStack-API-Version": MICROVERSION, "Content-Type": "application/json", **self.headers}
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            self._local.connection = None
            raise error if isinstance(error, OSError) else OSError(str(error)) from error
        finally:
            self._local.used = time.monotonic()

    def want(self, method: str, path: str, body: object = None) -> Any:
        """The decoded answer of a request that must go well."""
        status, content = self.ask(method, path, body)
        if status >= 300:
            raise RuntimeError(f"krater: {method} {path}: {status} {content[:400]!r}")
        return json.loads(content) if content else None

    def create(self, **fields: object) -> str:
        """Ask for a running container; its id."""
        body = {"image": IMAGE, "command": list(COMMAND), "cpu": CPUS, "memory": str(MEMORY_MIB), **fields}
        return str(self.want("POST", "/v1/containers?run=true", body)["uuid"])

    def wait_running(self, container: str) -> None:
        """Until the API says Running. Asks rarely, because Krater answers with the CPU it starts containers with."""
        deadline = time.monotonic() + PATIENCE
        while True:
            found = self.want("GET", f"/v1/containers/{container}")
            if found["status"] == "Running":
                return
            if found["status"] in ("Error", "Stopped") or time.monotonic() > deadline:
                raise RuntimeError(f"krater: container is {found['status']}: {found['status_reason']}")
            time.sleep(0.03)

    def containers(self) -> list[str]:
        """Ids of all containers there are."""
        found = self.want("GET", "/v1/containers?limit=1000")
        return [item["uuid"] for item in found["containers"]]

    def close(self, *, delete: bool = True) -> None:
        """Delete the containers, end the service and what it leaves running (containerd, by design)."""
        if self.process is None:
            return
        if self.process.poll() is None:
            if delete:
                with contextlib.suppress(OSError, RuntimeError):
                    self._delete_all()
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                machine.say("krater serve did not end on SIGTERM; killed")
                self.process.kill()
                self.process.wait()
        self.process = None
        _end_family(str(self.directory))
        machine.remove_cgroups(self.instance)

    def _delete_all(self) -> None:
        deadline = time.monotonic() + 2 * PATIENCE
        while left := self.containers():
            if time.monotonic() > deadline:
                machine.say(f"krater: {len(left)} containers could not be deleted")
                return
            for container in left:
                self.ask("DELETE", f"/v1/containers/{container}?force=true")
            time.sleep(0.2)


def _end_family(word: str) -> None:
    """End what still names our directory: asked first, then killed."""
    for number, patience in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0)):
        deadline = time.monotonic() + patience
        members = machine.family(word, machine.processes())
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        while members and time.monotonic() < deadline:
            time.sleep(0.1)
            members = machine.family(word, machine.processes())
        if not members:
            return


class Krater:
    """Containers through POST and DELETE, one keep-alive connection a request under way."""

    name = "krater"

    def __init__(self, directory: Path, image: Path, *, at_once: int) -> None:
        self.server = KraterServer(directory)
        self.directory = self.server.directory
        self.left_behind = 0
        self._image = image
        self._pool = ThreadPoolExecutor(at_once)
        self._going: set[str] = set()
        self._gone: list[str] = []
        self._counting = threading.Lock()

    def open(self) -> None:
        """Start Krater and give it the image."""
        if not PROGRAM.exists():
            raise Unmeasured("there is no krater command beside this Python")
        self.server.open()
        command = [str(PROGRAM), "node", "import", *self.server.options, str(self._image)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Unmeasured(f"krater node import: {done.stderr.strip()[-400:]}")

    def make_ready(self, count: int) -> None:
        """Krater keeps namespaces ready by itself."""

    def start(self) -> Future[Container]:
        """POST, with run=true."""
        return self._pool.submit(self._start, time.time())

    def _start(self, asked: float) -> Container:
        return Container(self.server.create(), asked)

    def seconds_to_run(self, container: Container) -> float:
        """By the time stamp of the container's first line, as the API's logs give it."""
        self.server.wait_running(container.id)
        query = urlencode({"timestamps": "true", "stdout": "true"})
        deadline = time.monotonic() + PATIENCE
        while not (text := self.server.want("GET", f"/v1/containers/{container.id}/logs?{query}")):
            if time.monotonic() > deadline:
                raise TimeoutError(f"krater: container {container.id} wrote nothing")
            time.sleep(0.03)
        return timestamps.epoch(text) - container.asked

    def delete(self, container: Container) -> Future[float]:
        """DELETE with force, then asked for until it is not found: the more go at once, the more rarely each.

        Krater answers with the processors it removes containers with, and so do we ask: what is measured must be left
        some. That makes our own figure worse by half a pause, and no other. For the same reason what is left of any is
        looked for when the last of them is gone: reading all processes of the machine takes as long as removing some.
        """
        self._going.add(container.id)
        return self._pool.submit(self._delete, container, time.time())

    def _delete(self, container: Container, asked: float) -> float:
        path = f"/v1/containers/{container.id}"
        self.server.want("DELETE", f"{path}?force=true")
        while self.server.ask("GET", path)[0] != 404:
            if time.time() - asked > PATIENCE:
                raise TimeoutError(f"krater: container {container.id} is not gone")
            time.sleep(0.002 * len(self._going))
        took = time.time() - asked
        with self._counting:
            self._gone.append(container.id)
            self._going.discard(container.id)
            if not self._going:  # not found must mean gone: said below the table
                self.left_behind += len(machine.named_anywhere(self._gone, self.server.pid))
                self._gone.clear()
        return took

    def close(self) -> None:
        """End Krater."""
        self._pool.shutdown()
        self.server.close()

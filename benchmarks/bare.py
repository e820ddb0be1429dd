"""The bare reference: conmon and crun, nothing above them, in network namespaces made before the clock starts."""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

from benchmarks import bundle, kernel, machine, timestamps
from benchmarks.contenders import PATIENCE, Container


class BareEngine:
    """conmon + crun over an overlay of an unpacked image: the least that must happen to run a container."""

    name = "conmon + crun"

    def __init__(self, directory: Path, image: Path, *, at_once: int) -> None:
        self.directory = directory / "bare"
        self.directory.mkdir()
        self.cgroup = f"krater-bench-{os.getpid()}"
        self.root = self.directory / "image"
        bundle.unpack_image(image, self.root)
        self._crun = [
            shutil.which("crun") or "crun",
            "--root",
            str(self.directory / "crun"),
            "--cgroup-manager=cgroupfs",
        ]
        self._conmon = shutil.which("conmon") or "conmon"
        self._cell = kernel.Cell(at_once, hide_hybrid=True)
        self._namespaces: list[Path] = []
        self._made = 0
        self._spec = ""
        self.seccomp = "without seccomp"

    def open(self) -> None:
        """Learn the compiled seccomp filter from a first container, as Krater does."""
        profile = None
        if bundle.PROFILE.exists():
            profile = bundle.seccomp_profile(bundle.PROFILE.read_text())
            self.seccomp = "seccomp compiled at each start"
        self._spec = self._text(profile, None)
        self.make_ready(1)
        first = self.start().result()
        compiled = self.directory / "crun" / first.id / "seccomp.bpf"
        if compiled.exists():
            self._spec = self._text(profile, base64.b64encode(compiled.read_bytes()).decode())
            self.seccomp = "seccomp precompiled"
        self.delete(first).result()

    def _text(self, profile: dict[str, object] | None, compiled: str | None) -> str:
        return json.dumps(bundle.spec(Path("@ROOT@"), f"/{self.cgroup}/@ID@", profile, compiled))

    def make_ready(self, count: int) -> None:
        """Network namespaces for the next `count` starts: their cost is not part of a start."""
        for _ in range(count):
            path = self.directory / f"net{self._made}"
            self._made += 1
            self._cell.run(kernel.in_new_thread, kernel.make_network_namespace, path)
            self._namespaces.append(path)

    def _place(self, container: Container) -> Path:
        return self.directory / f"c-{container.id}"

    def start(self) -> Future[Container]:
        """Run a container in a ready namespace; the future is done when crun says it started."""
        namespace = self._namespaces.pop()
        container = Container(namespace.name, time.time())
        return self._cell.submit(self._start, container, namespace)

    def start_pair(self) -> list[Future[Container]]:
        """Run two containers, at once, in one ready namespace."""
        namespace, asked = self._namespaces.pop(), time.time()
        names = [f"{namespace.name}{letter}" for letter in "ab"]
        return [self._cell.submit(self._start, Container(name, asked), namespace) for name in names]

    def _start(self, container: Container, namespace: Path) -> Container:
        place = self._place(container)
        for name in ("upper", "work", "root", "exits"):
            (place / name).mkdir(parents=True)
        layers = f"lowerdir={self.root},upperdir={place}/upper,workdir={place}/work"
        kernel.mount("overlay", place / "root", "overlay", options=layers)
        text = (
            self._spec.replace("@ROOT@", f"{place}/root").replace("@NET@", str(namespace)).replace("@ID@", container.id)
        )
        (place / "config.json").write_text(text)
        self._run_conmon(container)
        subprocess.run([*self._crun, "start", container.id], check=True)
        container.conmon = int((place / "conmon.pid").read_text())
        return container

    def _run_conmon(self, container: Container) -> None:
        place = self._place(container)
        reader, writer = os.pipe()
        command = [self._conmon, "--api-version", "1", "-c", container.id, "-u", container.id, "-n", container.id]
        command += ["-r", self._crun[0], "-b", str(place), "-p", str(place / "pid"), "-P", str(place / "conmon.pid")]
        command += ["-l", f"k8s-file:{place}/log", "--exit-dir", str(place / "exits"), "--log-level", "error"]
        command += ["--socket-dir-path", str(place), *(f"--runtime-arg={text}" for text in self._crun[1:])]
        with open(reader) as answers:
            try:
                subprocess.run(
                    command,
                    pass_fds=[writer],
                    env={"_OCI_SYNCPIPE": str(writer), "PATH": os.environ["PATH"]},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    check=True,
                )
            finally:
                os.close(writer)
            answer = json.loads(answers.readline() or "{}")
        if answer.get("data", -1) <= 0:
            raise RuntimeError(f"conmon: {answer.get('message', 'no answer')}")

    def seconds_to_run(self, container: Container) -> float:
        """From the request to the container's first output, by the time stamp that conmon gave it."""
        return (
            timestamps.wait_for_line(self._place(container) / "log", timestamps.conmon_time, PATIENCE) - container.asked
        )

    def delete(self, container: Container) -> Future[float]:
        """Kill it at once and take everything away; the seconds that took."""
        return self._cell.submit(self._delete, container, time.time())

    def _delete(self, container: Container, asked: float) -> float:
        self._end(container)
        took = time.time() - asked
        self._drop(container.id)
        return took

    def delete_pair(self, pair: Sequence[Container]) -> float:
        """Kill both at once and take everything away; the seconds that took."""
        asked = time.time()
        for future in [self._cell.submit(self._end, container) for container in pair]:
            future.result()
        took = time.time() - asked
        self._cell.run(self._drop, pair[0].id[:-1])
        return took

    def _drop(self, namespace: str) -> None:
        kernel.unmount(self.directory / namespace)
        (self.directory / namespace).unlink()

    def _end(self, container: Container) -> None:
        conmon = os.pidfd_open(container.conmon)
        try:
            subprocess.run([*self._crun, "kill", container.id, "KILL"], check=True)
            select.select([conmon], [], [], PATIENCE)
        finally:
            os.close(conmon)
        subprocess.run([*self._crun, "delete", container.id], check=True)
        kernel.unmount(self._place(container) / "root")
        shutil.rmtree(self._place(container))

    def close(self) -> None:
        """Take away what a broken run left, the ready namespaces and the cgroups."""
        for place in self.directory.glob("c-*"):
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                self._cell.run(self._clear, place)
        for path in self._namespaces:
            with contextlib.suppress(OSError):
                self._cell.run(kernel.unmount, path)
        self._cell.close()
        machine.remove_cgroups(self.cgroup)

    def _clear(self, place: Path) -> None:
        name = place.name.removeprefix("c-")
        subprocess.run([*self._crun, "delete", "--force", name], check=False, stderr=subprocess.DEVNULL)
        kernel.unmount(place / "root")

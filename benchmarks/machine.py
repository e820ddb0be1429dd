"""What the benchmarks need of the machine: packages, ports, and what processes and the machine have used."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

_BEGAN = time.monotonic()
TICKS = os.sysconf("SC_CLK_TCK")
CGROUPS = Path("/sys/fs/cgroup")
POLICY = Path("/usr/sbin/policy-rc.d")
APT = ("apt-get", "-qq", "-o", "DPkg::Lock::Timeout=600")


def say(text: str) -> None:
    """A line of progress, on stderr: stdout is for the result."""
    print(f"bench {time.monotonic() - _BEGAN:4.0f} s: {text}", file=sys.stderr, flush=True)


class TookTooLong(Exception):
    """A part had more time than it may have; the others want their turn."""


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raises TookTooLong in whatever the main thread does or waits for when the time is over."""

    def over(_number: int, _frame: object) -> None:
        raise TookTooLong(f"not done within {seconds:g} seconds")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def ensure_package(package: str, program: str) -> str | None:
    """The path of `program`, after installing Debian's `package` when it is missing; None when that does not work.

    A policy that answers 101 keeps the package from starting its services; one that is there already is left alone.
    """
    if found := shutil.which(program, path="/usr/bin:/usr/sbin:/bin:/sbin"):
        return found
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return None
    say(f"installing {package}")
    own_policy = not POLICY.exists()
    if own_policy:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    try:
        install = [*APT, "install", "--yes", "--no-install-recommends", package]
        if _apt(install) != 0:
            _apt([*APT, "update"])
            _apt(install)
    finally:
        if own_policy:
            POLICY.unlink(missing_ok=True)
    return shutil.which(program, path="/usr/bin:/usr/sbin:/bin:/sbin")


def _apt(command: list[str]) -> int:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        say(f"{command[-1]}: {done.stderr.strip()[-300:]}")
    return done.returncode


def free_port() -> int:
    """A TCP port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def busy_seconds() -> float:
    """CPU time the whole machine has used since it started, without idling and waiting."""
    values = [int(text) for text in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    user, nice, system, _idle, _wait, irq, softirq, _steal = values
    return (user + nice + system + irq + softirq) / TICKS


def cpu_seconds(pid: int) -> float:
    """CPU time one process has used so far; 0 when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    after_name = text.rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / TICKS


def memory_kib(pid: int, name: str = "Pss") -> int:
    """A line of the process's memory summary (`Pss`, `Rss`) in KiB; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)


def processes() -> dict[int, tuple[int, str]]:
    """All processes: pid -> (parent, command line)."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = Path(f"/proc/{entry}/stat").read_text()
            command = Path(f"/proc/{entry}/cmdline").read_bytes()
        except OSError:
            continue
        parent = int(stat.rpartition(")")[2].split()[1])
        found[int(entry)] = (parent, command.replace(b"\0", b" ").decode(errors="replace"))
    return found


def family(word: str, table: dict[int, tuple[int, str]]) -> set[int]:
    """Processes whose command line has `word` in it, and all their descendants; never this process itself.

    An engine's processes all name its directory, which is why one word finds them; containers' processes do not, but
    they are children of some that do.
    """
    own = {os.getpid(), os.getppid()}
    members = {pid for pid, (_, command) in table.items() if word in command and pid not in own}
    while True:
        more = {pid for pid, (parent, _) in table.items() if parent in members} - members - own
        if not more:
            return members
        members |= more


def named_anywhere(words: Iterable[str], pid: int) -> list[str]:
    """Those of the words that are in the name of a process, or of a mount that process `pid` sees."""
    names = [Path(f"/proc/{pid}/mountinfo").read_text(), *(command for _, command in processes().values())]
    return [word for word in words if any(word in name for name in names)]


def total_memory_mb(pids: Iterable[int]) -> float:
    """Proportional memory of some processes together, in MB."""
    return sum(memory_kib(pid) for pid in pids) * 1024 / 1e6


def remove_cgroups(name: str) -> None:
    """Kill what is still in a cgroup, and remove it and all below it, in every hierarchy the machine has."""
    for top in (*CGROUPS.glob(f"*/{name}"), CGROUPS / name):
        for members in top.rglob("cgroup.procs"):
            for pid in members.read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
        for path in sorted((p for p in top.rglob("*") if p.is_dir()), key=lambda p: -len(p.parts)):
            with contextlib.suppress(OSError):
                path.rmdir()
        with contextlib.suppress(OSError):
            top.rmdir()

"""The few kernel calls that Python 3.11 does not offer: namespaces and mounts, by way of the C library."""

import ctypes
import os
import subprocess
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

CLONE_FS = 0x200
CLONE_NEWNS = 0x20000
CLONE_NEWNET = 0x40000000
MS_BIND = 0x1000
MS_REC = 0x4000
MS_SLAVE = 0x80000
MNT_DETACH = 2

HYBRID = Path("/sys/fs/cgroup/unified")

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Give the calling thread namespaces (or file system attributes) of its own."""
    _check(_libc.unshare(flags), "unshare")


def setns(descriptor: int, kind: int) -> None:
    """Put the calling thread into a namespace."""
    _check(_libc.setns(descriptor, kind), "setns")


def mount(source: str, target: Path | str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """mount(2)."""
    arguments = [text.encode() or None for text in (source, str(target), kind)]
    _check(_libc.mount(*arguments, ctypes.c_ulong(flags), options.encode() or None), f"mount {target}")


def unmount(target: Path | str) -> None:
    """umount2(2), lazily: what still uses the mount keeps it until it ends."""
    _check(_libc.umount2(str(target).encode(), MNT_DETACH), f"umount {target}")


class Cell:
    """Threads that live in a mount namespace (and, when asked for, a network namespace) of their own.

    What a thread of the cell starts lives there as well. This keeps mounts, bridges and packet filters of an engine
    away from the machine: they go when the last process in the cell does. Threads, not a helper process, because then
    starting a process costs what it costs and no message is added to the measurement.
    """

    def __init__(self, threads: int, *, network: bool = False, hide_hybrid: bool = False) -> None:
        kinds = {"mnt": CLONE_NEWNS} | ({"net": CLONE_NEWNET} if network else {})
        maker = ThreadPoolExecutor(1)
        self._namespaces = maker.submit(self._make, kinds, hide_hybrid).result()
        maker.shutdown()
        self._pool = ThreadPoolExecutor(threads, initializer=self._enter)

    @staticmethod
    def _make(kinds: dict[str, int], hide_hybrid: bool) -> dict[int, int]:
        for kind in kinds.values():
            unshare(kind)
        mount("none", "/", flags=MS_REC | MS_SLAVE)
        if hide_hybrid and HYBRID.exists():
            unmount(HYBRID)
        return {kind: os.open(f"/proc/thread-self/ns/{name}", os.O_RDONLY) for name, kind in kinds.items()}

    def _enter(self) -> None:
        unshare(CLONE_FS)
        for kind, descriptor in self._namespaces.items():
            setns(descriptor, kind)

    def submit(
        self, call: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Future[Result]:
        """Run a call on a thread of the cell."""
        return self._pool.submit(call, *args, **kwargs)

    def run(self, call: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        """Run a call on a thread of the cell and wait for it."""
        return self.submit(call, *args, **kwargs).result()

    def close(self) -> None:
        """End the threads; the namespaces end with the last process that lives in them."""
        self._pool.shutdown()
        for descriptor in self._namespaces.values():
            os.close(descriptor)


def make_network_namespace(path: Path) -> None:
    """A network namespace with loopback up, kept at `path`. Must run on a thread that may be thrown away."""
    path.touch()
    unshare(CLONE_NEWNET)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    mount("/proc/thread-self/ns/net", path, flags=MS_BIND)


def in_new_thread(call: Callable[Parameters, None], *args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
    """Run a call on a thread that ends with it: for what leaves its thread in a strange namespace."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(call, *args, **kwargs).result()

"""A network namespace without a way out, for one process. Our threads enter it and end."""

import fcntl
import os
import socket
import struct
from collections.abc import Callable
from threading import Thread
from typing import Final, TypeVar

from krater.agent.runtimes.oci import syscalls

_SIOCGIFFLAGS: Final = 0x8913
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 1
_BACKLOG: Final = 128

Result = TypeVar("Result")


def in_new_space(function: Callable[[], Result]) -> Result:
    """Call a function where there is no network but the loopback interface. What it starts stays there."""

    def enter() -> Result:
        syscalls.unshare(syscalls.CLONE_NEWNET)
        _raise_loopback()
        return function()

    return _on_a_thread(enter)


def listen_in_space_of(pid: int, address: str, port: int) -> socket.socket:
    """A socket that listens in the network namespace of a process. OSError when that is taken, or it is gone."""

    def enter() -> socket.socket:
        descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            syscalls.setns(descriptor, syscalls.CLONE_NEWNET)
        finally:
            os.close(descriptor)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return socket.create_server((address, port), family=family, backlog=_BACKLOG)

    return _on_a_thread(enter)


def is_apart(pid: int) -> bool:
    """Whether a process has another network than we."""
    return os.stat(f"/proc/{pid}/ns/net").st_ino != os.stat("/proc/self/ns/net").st_ino


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        request = fcntl.ioctl(probe, _SIOCGIFFLAGS, struct.pack("16sH14x", b"lo", 0))
        flags = struct.unpack("16sH14x", request)[1]
        fcntl.ioctl(probe, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


def _on_a_thread(function: Callable[[], Result]) -> Result:
    """On a thread that ends after it: a namespace belongs to a thread, and one that came back might forget to."""
    results: list[Result] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(function())
        except BaseException as error:
            errors.append(error)

    thread = Thread(target=work, name="registry-space")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]

"""Processes by identity: a pid together with the moment it started, so that a reused number fools nobody."""

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

_ZOMBIE: Final = ("Z", "X")


@dataclass(frozen=True, slots=True)
class Identity:
    """One process of this machine since its boot. `ticks` is its start in clock ticks since boot."""

    pid: int
    ticks: int

    @property
    def alive(self) -> bool:
        """Whether it still runs; one that ended and was not waited for does not."""
        return identify(self.pid) == self


def identify(pid: int) -> Identity | None:
    """The process that has this number now, or None when there is none that runs."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    if fields[0].decode() in _ZOMBIE:
        return None
    return Identity(pid, int(fields[19]))


def boot_id() -> str:
    """What tells this boot of the machine from all others."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def open_pidfd(process: Identity) -> int | None:
    """A descriptor for exactly this process, or None when it is gone."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    if not process.alive:  # the number may have passed to another before we held the descriptor
        os.close(descriptor)
        return None
    return descriptor


def send_signal(process: Identity, number: int) -> bool:
    """Send a signal to exactly this process. False when it is gone."""
    descriptor = open_pidfd(process)
    if descriptor is None:
        return False
    try:
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def reap(pid: int) -> None:
    """Take the exit status of a process that may be our child, so that it does not stay a zombie."""
    with suppress(ChildProcessError):  # a process of an earlier life of ours: init takes it
        os.waitpid(pid, os.WNOHANG)


def on_exit(process: Identity, then: Callable[[], None]) -> Callable[[], None] | None:
    """Call `then` on the running loop when the process ends, without polling. None when it has ended already.

    Returns what cancels the watch. Ended children are reaped.
    """
    descriptor = open_pidfd(process)
    if descriptor is None:
        return None
    loop = asyncio.get_running_loop()
    open_still = True

    def cancel() -> None:
        nonlocal open_still
        if open_still:
            open_still = False
            loop.remove_reader(descriptor)
            os.close(descriptor)

    def ended() -> None:
        cancel()
        reap(process.pid)
        then()

    loop.add_reader(descriptor, ended)
    return cancel


async def ended(process: Identity, within: float) -> bool:
    """Wait until a process has ended; False when it still runs after `within` seconds."""
    done = asyncio.get_running_loop().create_future()

    def finish() -> None:
        if not done.done():
            done.set_result(None)

    cancel = on_exit(process, finish)
    if cancel is None:
        reap(process.pid)
        return True
    try:
        await asyncio.wait_for(done, within)
    except TimeoutError:
        return not process.alive
    finally:
        cancel()
    return True


def signal_has_effect(pid: int, number: int) -> bool:
    """Whether the first process of a pid namespace would notice a signal.

    The kernel drops a signal to such a process unless it handles, or blocks and thereby keeps, the signal. Waiting
    after one that is dropped is waiting for nothing.
    """
    if number in (signal.SIGKILL, signal.SIGSTOP):
        return True
    bit = 1 << (number - 1)
    try:
        with open(f"/proc/{pid}/status") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name in ("SigCgt", "SigBlk") and int(value, 16) & bit:
                    return True
    except (FileNotFoundError, ProcessLookupError):
        return True  # gone: whoever waits for it will see that at once
    return False

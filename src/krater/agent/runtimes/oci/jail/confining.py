"""Giving up what is not needed to read and write files. There is no way back."""

import ctypes
import fcntl
import os
import resource
import select
import signal
from types import FrameType
from typing import Final

from krater.agent.runtimes.oci.jail.frames import Abandoned

# CHOWN, DAC_OVERRIDE, FOWNER, FSETID: owners and modes of files that are not ours. Not DAC_READ_SEARCH, with which
# files can be opened by number, wherever they are.
KEPT: Final = (0, 1, 3, 4)
MEMORY: Final = 384 << 20
CPU: Final = 900
OPEN_FILES: Final = 1024
NICE: Final = 10  # containers, whose limits do not hold here, come first

_PR_CAPBSET_DROP: Final = 24
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_SECCOMP: Final = 22
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
_SECCOMP_MODE_FILTER: Final = 2
_CAPABILITY_VERSION: Final = 0x20080522
_LAST_CAPABILITY: Final = 63
_INSTRUCTION: Final = 8

_libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _prctl(*arguments: int) -> None:
    padded = [ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)[1:5]]
    if _libc.prctl(ctypes.c_int(arguments[0]), *padded) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), f"prctl {arguments[0]}")


def confine(largest_file: int, program: bytes) -> None:
    """Few capabilities, none to be had by starting a program, limits, and a filter of system calls if there is one."""
    os.umask(0o77)
    os.nice(NICE)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_AS, MEMORY)
    _limit(resource.RLIMIT_CPU, CPU)
    _limit(resource.RLIMIT_NOFILE, OPEN_FILES)
    _limit(resource.RLIMIT_FSIZE, largest_file)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    _prctl(_PR_SET_DUMPABLE, 0)
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    for capability in range(_LAST_CAPABILITY + 1):
        if capability not in KEPT:
            try:
                _prctl(_PR_CAPBSET_DROP, capability)
            except OSError:
                break  # there are no more
    held = sum(1 << capability for capability in KEPT)
    sets = (_Sets * 2)(_Sets(held, held, 0), _Sets(0, 0, 0))
    if _libc.capset(ctypes.byref(_Header(_CAPABILITY_VERSION, 0)), sets) < 0:
        raise OSError(ctypes.get_errno(), "capset")
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if program:
        loaded = _Program(len(program) // _INSTRUCTION, program)
        if _libc.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_SECCOMP_MODE_FILTER), ctypes.byref(loaded), 0, 0) < 0:
            raise OSError(ctypes.get_errno(), "seccomp")


def _limit(kind: int, most: int) -> None:
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(kind, (most, most))


def end_with(lifeline: int) -> None:
    """Abandon the work as soon as the other end of this pipe is closed, which the agent's death does too."""

    def gone(number: int, frame: FrameType | None) -> None:
        raise Abandoned

    signal.signal(signal.SIGIO, gone)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    poll = select.poll()
    poll.register(lifeline, select.POLLHUP)
    if poll.poll(0):
        raise Abandoned

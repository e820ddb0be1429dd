"""Whether an OCI runtime works on this host: by running a throw-away container, which says more than any list of facts.

A runtime may be installed and yet be of no use: crun refuses some layouts of control groups, an old one lacks what a
new kernel wants. Found out when the agent starts, not by the first container.
"""

import errno
import os
import secrets
import subprocess
import tempfile
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import structlog

from krater.agent.runtimes.oci.crun import OciProgram, find_programs
from krater.agent.runtimes.oci.launcher import ENVIRONMENT, Launcher
from krater.errors import Failed, Temporary

WITHIN: Final = 30.0
MIB: Final = 1 << 20
_PROGRAM: Final = "/usr/bin/true"
_FROM_HOST: Final = ("/usr", "/bin", "/lib", "/lib64", "/etc/ld.so.cache")
_NAMESPACES: Final = ("pid", "mount", "ipc", "uts", "network")

log = structlog.get_logger()


def working_program(wanted: str | None, state: str, launcher: Launcher, parent: str) -> OciProgram:
    """The program that was chosen, or the best one that works here. Temporary when none does: all may yet be mended."""
    refusals: list[str] = []
    for program in find_programs(wanted, state):
        why = _complaint(program, launcher, parent)
        if why is not None and os.strerror(errno.ENOSPC).lower() in why.lower():
            # Who would remove what fills the disk, if not the engine that has been here before?
            log.warning("there is no room to try the OCI runtime; it is believed to work", runtime=program.name)
            why = None
        if why is None:
            if refusals:
                log.warning("another OCI runtime is used", runtime=program.name, because="; ".join(refusals))
            return program
        refusals.append(f"{program.name} does not work on this host: {why}")
    raise Temporary("; ".join(refusals))


def _complaint(program: OciProgram, launcher: Launcher, parent: str) -> str | None:
    """Why it cannot run a container here, None when it can."""
    name = f"probe-{secrets.token_hex(6)}"
    with tempfile.TemporaryDirectory(prefix="krater-probe-") as bundle:
        rootfs = f"{bundle}/rootfs"
        mounts = [path for path in _FROM_HOST if os.path.exists(path)]
        for path in ("/dev", "/proc", "/sys", *mounts):
            _make_point(rootfs, path)
        with open(f"{bundle}/config.json", "wb") as file:
            file.write(msgspec.json.encode(_document(mounts, f"/{parent}/{name}")))
        run = [program.path, *program.arguments, "run", "--bundle", bundle, name]
        try:
            done = launcher.call(lambda: _run(run))
            return None if done.returncode == 0 else _last_line(done.stderr or done.stdout)
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        except Failed as error:
            return error.message
        finally:
            launcher.call(lambda: _run([program.path, *program.arguments, "delete", "--force", name]))


def _make_point(rootfs: str, path: str) -> None:
    if os.path.isdir(path):
        os.makedirs(rootfs + path, exist_ok=True)
        return
    os.makedirs(os.path.dirname(rootfs + path), exist_ok=True)
    open(rootfs + path, "w").close()


def _document(mounts: Sequence[str], group: str) -> dict[str, Any]:
    """A container as ours are, as far as the host may be in the way: namespaces, mounts, control groups, no rights."""
    binds = [
        {"destination": path, "type": "bind", "source": path, "options": ["bind", "ro", "nosuid", "nodev"]}
        for path in mounts
    ]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": [_PROGRAM],
            "cwd": "/",
            "env": ["PATH=/usr/bin:/bin"],
            "noNewPrivileges": True,
            "capabilities": {},
        },
        "root": {"path": "rootfs"},
        "hostname": "probe",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]},
            *binds,
        ],
        "linux": {
            "cgroupsPath": group,
            "namespaces": [{"type": kind} for kind in _NAMESPACES],
            "resources": {"memory": {"limit": 64 * MIB}, "pids": {"limit": 64}, "cpu": {"shares": 102}},
        },
    }


def _run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=WITHIN,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
    )


def _last_line(said: str) -> str:
    return (said.strip().splitlines() or ["it ended without a word"])[-1][:500]

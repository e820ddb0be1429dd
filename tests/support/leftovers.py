"""What a Krater left on the machine: asked of the kernel, the disk and the database, never of Krater."""

import os
import re
import sqlite3
import subprocess
from pathlib import Path

from tests.support.server import Server

_ROWS = {
    "workloads": "select count(*) from workloads",
    "ports": "select count(*) from ports",
    "claims": "select count(*) from claims",
    "addresses": "select count(*) from addresses",
    "members": "select count(*) from members",
    "auto volumes": "select count(*) from volumes where auto_remove = 1",
    "held volumes": "select count(*) from volumes where workload != ''",
    "files": "select count(*) from injected_files",
    "usage": "select count(*) from quota_usage where containers > 0 or memory > 0",
}


def leftovers(server: Server) -> list[str]:
    """Everything that belongs to a container of this Krater, one line each. Empty when none is left."""
    return [
        *_processes(server),
        *_mounts(server),
        *_cards(server),
        *_namespaces(server),
        *_control_groups(server),
        *_directories(server),
        *_volumes(server),
        *_rows(server),
    ]


def _processes(server: Server) -> list[str]:
    """Monitors and whatever else was started for a container: their command lines name its directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if f"{server.directory}/engine/containers" in words or f"{server.directory}/engine/crun" in words:
            found.append(f"process {path.parent.name}: {words[:120]}")
    return found


def _mounts(server: Server) -> list[str]:
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    below = tuple(f"{server.directory}/engine/{directory}/" for directory in ("containers", "groups"))
    return [f"mount {point}" for point in points if point.startswith(below)]


def _cards(server: Server) -> list[str]:
    """Cards say in their alias whose they are; spare ones that wait for the next container belong to nobody yet."""
    listing = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    aliases = re.findall(rf"alias (krater:{server.instance}:\S+)", listing)
    return [f"card {alias}" for alias in aliases if ":network:" not in alias]


def _namespaces(server: Server) -> list[str]:
    return [f"sandbox {path.name}" for path in (server.directory / "run" / "netns" / "sandboxes").glob("*")]


def _control_groups(server: Server) -> list[str]:
    walk = os.walk("/sys/fs/cgroup")  # which passes over groups of others that end meanwhile
    found = [f"{place}/{name}" for place, names, _ in walk for name in names if Path(place).name == server.instance]
    return [f"control group {path}" for path in found]


def _directories(server: Server) -> list[str]:
    found = (server.directory / "engine").glob("*/*")
    return [f"directory {path}" for path in found if path.parent.name in ("containers", "groups")]


def _volumes(server: Server) -> list[str]:
    """Whatever of volumes and injected files is connected; and data of which no row says that they are wanted."""
    found = [f"mount {path}" for path in (server.directory / "run" / "volumes").glob("*/*")]
    found += [f"injected file {path}" for path in (server.directory / "volumes" / "files").glob("*")]
    return found + [f"loop device over {disk}" for disk in loop_devices(server.directory)]


def loop_devices(directory: Path) -> list[str]:
    """The files below a directory that loop devices are over."""
    found = []
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            text = backing.read_text().strip()
        except OSError:  # it has just ended
            continue
        found += [text] if text.startswith(f"{directory}/") else []
    return found


def _rows(server: Server) -> list[str]:
    database = sqlite3.connect(f"file:{server.directory}/krater.sqlite?mode=ro", uri=True)
    try:
        counts = {table: database.execute(query).fetchone()[0] for table, query in _ROWS.items()}
    finally:
        database.close()
    return [f"{count} rows of {table}" for table, count in counts.items() if count]

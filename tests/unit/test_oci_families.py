"""Killing what a command has started, while it goes on starting more."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from krater.agent.runtimes.oci.families import kill_family, kill_session

# A process of its own session that starts others as fast as it can, which start another each.
BUSY = "i=0; while [ $i -lt 400 ]; do (sleep {mark} & wait) & i=$((i+1)); done; wait"


class Inside:
    """The control group of the tests' own processes: those whose command line has the mark."""

    def __init__(self, mark: str) -> None:
        self.mark = mark.encode()

    def pids(self, _: str) -> list[int]:
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark in (entry / "cmdline").read_bytes() and b"Z" not in (entry / "stat").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
        return found


@pytest.mark.thorough
@pytest.mark.parametrize("kill", [kill_family, kill_session])
@pytest.mark.parametrize("after", [0.0, 0.01, 0.02, 0.04, 0.08])
def test_nobody_is_left_of_a_family_that_grows(kill: Callable[[Any, str, int], None], after: float) -> None:
    mark = f"1000.{time.monotonic_ns()}"
    group = Inside(mark)
    with subprocess.Popen(["sh", "-c", BUSY.format(mark=mark)], start_new_session=True) as child:
        time.sleep(after)
        kill(group, "group", child.pid)
        assert child.wait(timeout=10) == -9
    deadline = time.monotonic() + 5  # those that were killed need a moment to be gone
    while group.pids("") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert group.pids("") == []


def test_a_process_elsewhere_is_left_alone() -> None:
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as child:
        kill: Callable[[Any, str, int], None] = kill_session
        kill(Inside("nobody has this in a command line"), "group", child.pid)
        assert child.poll() is None
        child.kill()

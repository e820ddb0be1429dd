"""`krater`, but that it kills itself, `kill -9`, at steps of its work: at each of a list of points once.

`python -m tests.support.mortal FILE serve ...` is the very program, with points before and after what its agent and
its controller do for a workload. FILE lists those at which it is to die, one a line; each is taken off the list just
before, so that as many lives as there are lines die at all of them.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from krater.__main__ import main
from krater.agent.executor import Executor, Work
from krater.agent.steps import Step, container_of
from krater.agent.volumes.directory import DirectoryVolumes
from krater.controller.workloads import Seen, Workloads


def points_left(file: Path) -> list[str]:
    """Those at which it has not died yet."""
    return file.read_text().splitlines()


def mortal(file: Path) -> None:
    """From now on this process dies at the next point that is in the file."""

    def reach(point: str) -> None:
        left = points_left(file)
        if point in left:
            beside = file.with_suffix(".new")
            beside.write_text("".join(f"{one}\n" for one in left if one != point))
            beside.replace(file)
            os.kill(os.getpid(), signal.SIGKILL)

    def around(owner: type, name: str, words: Callable[..., str]) -> None:
        """Points before and after this method, named by what it is about to do."""
        real = getattr(owner, name)

        async def between(*arguments: Any) -> Any:
            what = words(*arguments)
            reach(f"before {what}")
            answer = await real(*arguments)
            reach(f"after {what}")
            return answer

        setattr(owner, name, between)

    around(Executor, "_do", _step_of)
    around(DirectoryVolumes, "discard", lambda *_: "discard")
    around(Workloads, "_claim", lambda *_: "claim")
    around(Workloads, "_place", lambda *_: "place")
    around(Workloads, "_see_off", _farewell_of)
    around(Workloads, "_give_back", lambda *_: "give back")
    around(Workloads, "_free_volumes", lambda *_: "free volumes")


def _step_of(_: Executor, work: Work, step: Step) -> str:
    """Its name, and that of the member it is about."""
    members = () if work.assignment is None else work.assignment.containers
    return " ".join([step.name, *(spec.name for spec in members if spec.id == container_of(step))])


def _farewell_of(_: Workloads, seen: Seen) -> str:
    """What follows depends on whether its node has let go of it."""
    return "forget" if seen.workload.placement.node is None else "farewell"


if __name__ == "__main__":
    mortal(Path(sys.argv.pop(1)))
    sys.exit(main())

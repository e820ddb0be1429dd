"""When a container's first line was written, as its engine's log says it: the same clock for every contender."""

import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

_STAMP = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:?\d\d)?")


def epoch(text: str) -> float:
    """Seconds since 1970 of a time stamp such as `2024-05-06T07:08:09.123456789Z`; without a zone, UTC is meant.

    By hand, because `datetime` refuses nanoseconds.
    """
    found = _STAMP.search(text)
    if found is None:
        raise ValueError(f"no time stamp in {text[:80]!r}")
    date, clock, fraction, zone = found.groups()
    zone = "+00:00" if zone in (None, "Z") else zone
    whole = datetime.fromisoformat(f"{date}T{clock}{zone}").astimezone(UTC).timestamp()
    return whole + float(f"0.{fraction or 0}")


def conmon_time(line: str) -> float:
    """The time of a line of conmon's k8s-file format: `STAMP stdout F text`."""
    return epoch(line.split(" ", 1)[0])


def docker_time(line: str) -> float:
    """The time of a line of Docker's json-file format."""
    return epoch(json.loads(line)["time"])


def wait_for_line(path: Path, when: Callable[[str], float], patience: float) -> float:
    """The time of the first complete line of a log, waiting for it to come. Asks rarely: looking costs CPU time too."""
    deadline = time.monotonic() + patience
    while True:
        try:
            line, newline, _ = path.read_text().partition("\n")
        except FileNotFoundError:
            newline = ""
        if newline:
            return when(line)
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path.name}: the container wrote nothing in {patience:g} seconds")
        time.sleep(0.01)

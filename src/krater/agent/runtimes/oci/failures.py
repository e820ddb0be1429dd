"""What an OCI runtime says when it cannot start a container, in words for the container's owner. Pure."""

import re
from typing import Final

_PREFIX: Final = re.compile(r"^(?:\d{4}-\d\d-\d\dT\S+:\s*)?(?:[a-z_]+\.(?:c|go):\d+:\s*)?")

# In order: the first that matches is what is said.
_MEANINGS: Final[tuple[tuple[re.Pattern[str], str], ...]] = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), meaning)
    for pattern, meaning in (
        (r"executable file `(?P<what>[^`]*)`?(?:'|`)? not found", "{command!r}: no such program in the image"),
        (r"executable file not found", "{command!r}: no such program in the image"),
        (r"exec format error", "{command!r} cannot run on this machine: built for another, or not a program"),
        (r"(?:exec|open executable|executable).*permission denied", "{command!r}: it is not an executable file"),
        (r"permission denied.*exec", "{command!r}: it is not an executable file"),
        (
            r"missing dynamic library|^exec /.*no such file",
            "{command!r} is there, but not the interpreter or the loader that it needs",
        ),
        (r"(?:open executable|exec).*no such file or directory", "{command!r}: no such program in the image"),
        (r"chdir.*no such file", "the working directory {workdir!r} is not in the image"),
        (r"chdir|getcwd", "the working directory {workdir!r} cannot be entered"),
        (
            r"cannot allocate memory|memory\.max|memory\.limit_in_bytes|out of memory",
            "the memory limit is too small to start anything",
        ),
        (r"no space left on device", "the node's disk is full"),
        (r"argument list too long|\bE2BIG\b", "its command and environment are too long"),
        (r"setns.*network|open.*netns|/proc/\d+/fd/\d+", "its network namespace is gone"),
    )
)


def explain(said: str, command: str, workdir: str) -> str:
    """One sentence about a failed start. What the runtime said itself follows only when it is not understood."""
    for pattern, meaning in _MEANINGS:
        if pattern.search(said):
            return "the container cannot start: " + meaning.format(command=command, workdir=workdir)
    last = [line for line in said.strip().splitlines() if line.strip()]
    bare = _PREFIX.sub("", last[-1].strip()) if last else "no reason was given"
    return f"the container cannot start: {bare}"

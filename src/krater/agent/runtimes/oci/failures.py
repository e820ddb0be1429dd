"""What an OCI runtime says when it cannot start a container, in words for the container's owner. Pure."""

import re
from dataclasses import dataclass
from typing import Final

_PREFIX: Final = re.compile(r"^(?:\d{4}-\d\d-\d\dT\S+:\s*)?(?:[a-z_]+\.(?:c|go):\d+:\s*)?")

NOT_RUNNABLE: Final = 126
NOT_THERE: Final = 127

# In order: the first that matches is what is said, and what a shell would end with.
_MEANINGS: Final[tuple[tuple[re.Pattern[str], str, int | None], ...]] = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), meaning, code)
    for pattern, meaning, code in (
        (  # the source is a path of the node, which is nobody's business
            r"(?:\bmount `[^`]*` to `|error mounting \\?\"[^\"]*\" to rootfs at \\?\")/?"
            r"(?P<place>[^`\"\\]*).*?(?P<why>[^:]*)$",
            "nothing can be mounted at '/{place}': {why}",
            None,
        ),
        (
            r"executable file `(?P<what>[^`]*)`?(?:'|`)? not found",
            "{command!r}: no such program in the image",
            NOT_THERE,
        ),
        (r"executable file not found", "{command!r}: no such program in the image", NOT_THERE),
        (
            r"exec format error",
            "{command!r} cannot run on this machine: built for another, or not a program",
            NOT_RUNNABLE,
        ),
        (
            r"(?:exec|open executable|executable).*permission denied",
            "{command!r}: it is not an executable file",
            NOT_RUNNABLE,
        ),
        (r"open executable: operation not permitted", "{command!r}: it is not an executable file", NOT_RUNNABLE),
        (r"permission denied.*exec", "{command!r}: it is not an executable file", NOT_RUNNABLE),
        (
            r"missing dynamic library|^exec /.*no such file",
            "{command!r} is there, but not the interpreter or the loader that it needs",
            NOT_THERE,
        ),
        (
            r"(?:open executable|exec).*no such file or directory",
            "{command!r}: no such program in the image",
            NOT_THERE,
        ),
        (r"chdir.*no such file", "the working directory {workdir!r} is not in the image", None),
        (r"chdir|getcwd", "the working directory {workdir!r} cannot be entered", None),
        (
            r"cannot allocate memory|memory\.max|memory\.limit_in_bytes|out of memory",
            "the memory limit is too small to start anything",
            None,
        ),
        (r"no space left on device", "the node's disk is full", None),
        (r"argument list too long|\bE2BIG\b", "its command and environment are too long", None),
        (r"setns.*network|open.*netns|/proc/\d+/fd/\d+", "its network namespace is gone", None),
    )
)


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a start failed. `exit_code` is what a shell would end with; None when it was not about the command."""

    text: str
    exit_code: int | None = None


def _bare(found: re.Match[str]) -> dict[str, str]:
    return {name: text.strip() for name, text in found.groupdict().items()}


def explain(said: str, command: str, workdir: str) -> Explanation:
    """One sentence about a failed start. What the runtime said itself follows only when it is not understood."""
    for pattern, meaning, code in _MEANINGS:
        if found := pattern.search(said.strip()):
            text = meaning.format(command=command, workdir=workdir, **_bare(found))
            return Explanation(f"the container cannot start: {text}", code)
    last = [line for line in said.strip().splitlines() if line.strip()]
    bare = _PREFIX.sub("", last[-1].strip()) if last else "no reason was given"
    return Explanation(f"the container cannot start: {bare}")

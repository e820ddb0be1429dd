"""What a fake process does, by its command line: enough for demonstrations and for tests of everything around it.

    sleep inf | sleep SECONDS       runs that long, then exits 0; ends with 143 when asked to stop
    exit CODE                       ends at once
    exit-after SECONDS [CODE]       ends later
    ignore-term                     runs until it is killed
    oom                             is killed for want of memory, at once
    fail-start                      cannot be started
    echo WORDS                      writes a line, then exits 0
    true | false
    well-from ATTEMPT               as a check: succeeds once the container was started again so often
    sh -c LINE                      the last command of the line
    cat                             copies its input until that ends, then exits 0
    stty size                       writes the size of its terminal, then exits 0

Whatever else is asked for runs until it is stopped, as a server would.
"""

import shlex
from dataclasses import dataclass

KILLED = 137
ENDED = 143


@dataclass(frozen=True, slots=True)
class Program:
    """`seconds` until it ends by itself, None for never."""

    seconds: float | None = None
    exit_code: int = 0
    output: bytes = b""
    oom: bool = False
    obeys: bool = True
    refusal: str | None = None
    copies: bool = False


def program_of(argv: tuple[str, ...], attempt: int = 0) -> Program:
    """What a command line does, in a container that was started again `attempt` times."""
    name, words = (argv[0].rpartition("/")[2], argv[1:]) if argv else ("", ())
    if name == "sh" and words[:1] == ("-c",) and len(words) > 1:
        last = shlex.split(words[1].rpartition(";")[2])
        return program_of(tuple(last[last[:1] == ["exec"] :]), attempt)
    numbers = [_number(word) for word in words]
    first, second = (*numbers, 0.0, 0.0)[:2]
    known = {
        "sleep": Program(seconds=first),
        "exit": Program(seconds=0.0, exit_code=int(first or 0)),
        "exit-after": Program(seconds=first, exit_code=int(second or 0)),
        "ignore-term": Program(obeys=False),
        "oom": Program(seconds=0.0, exit_code=KILLED, oom=True),
        "fail-start": Program(refusal="The command of the container cannot be run: fail-start: no such file."),
        "echo": Program(seconds=0.0, output=" ".join(words).encode() + b"\n"),
        "true": Program(seconds=0.0),
        "false": Program(seconds=0.0, exit_code=1),
        "well-from": Program(seconds=0.0, exit_code=int(attempt < (first or 0))),
        "cat": Program(copies=True),
        "stty": Program(seconds=0.0, output=b"24 80\n"),
    }
    return known.get(name, Program())


def _number(word: str) -> float | None:
    """None stands for no end."""
    try:
        return None if word.startswith("inf") else float(word)
    except ValueError:
        return 0.0

"""Ask for something and wait until it is so: what all commands do that name several containers or capsules."""

from collections.abc import Callable, Sequence
from contextlib import suppress

from krater.cli.progress import Progress
from krater.cli.several import Several
from krater.client import ApiError

Wait = Callable[[Progress], str | None]
"""Waits until nothing is being done, and says what is wrong then."""


def ask_each(
    texts: Sequence[str],
    ask: Callable[[str], tuple[str, Wait]],
    *,
    no_wait: bool,
    forgiven: tuple[type[ApiError], ...] = (),
) -> int:
    """Ask for all, then wait for all, so that ten take as long as one; the exit code.

    `ask` tells what to call it, which is printed when it is so. A failure does not keep the others from it; one that is
    `forgiven` is none.
    """
    asked, several = [], Several()
    for text in texts:
        with several.one(), suppress(*forgiven):
            asked.append(ask(text))
    with Progress() as progress:
        for name, wait in asked:
            wrong = None if no_wait else wait(progress)
            progress.clear()
            if wrong is None:
                print(name, flush=True)
            else:
                several.fails(wrong)
    return several.code

"""Threads of the engine's own for file work that may block, so that a slow disk holds up nobody else's."""

import asyncio
import errno
import shutil
import subprocess
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

from krater.errors import Temporary

COUNT: Final = 16
REMOVERS: Final = 4

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class Threads:
    """A bounded set of threads, and a few beside them for removing trees: a tenant's may hold millions of files."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(COUNT, thread_name_prefix="oci")
        self._removers = ThreadPoolExecutor(REMOVERS, thread_name_prefix="oci-remove")

    async def run(
        self, function: Callable[Parameters, Result], /, *arguments: Parameters.args, **named: Parameters.kwargs
    ) -> Result:
        """Call a blocking function on a thread and wait for it. What the host refuses, it may grant another time."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._pool, lambda: function(*arguments, **named))
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise Temporary("the node's disk is full", code="disk-full") from error
            raise Temporary(f"the node cannot do it now: {error.strerror or error} ({error.filename})") from error

    async def remove(self, tree: str) -> None:
        """Remove a tree, however long that takes."""
        await asyncio.get_running_loop().run_in_executor(self._removers, remove_tree, tree)

    def remove_later(self, trees: Iterable[str]) -> None:
        """Remove trees that nobody waits for. What a crash leaves of them is found again at the next start."""
        for tree in trees:
            self._removers.submit(remove_tree, tree)

    def close(self) -> None:
        """Let the threads end."""
        self._pool.shutdown(wait=False)
        self._removers.shutdown(wait=False, cancel_futures=True)


def remove_tree(path: str) -> None:
    """Remove what a tenant has written. They may nest directories deeper than Python can recurse; `rm` knows no end."""
    try:
        shutil.rmtree(path, ignore_errors=True)
    except RecursionError:
        subprocess.run(["rm", "-rf", "--one-file-system", "--", path], check=False, stderr=subprocess.DEVNULL)

"""Threads of the engine's own for file work that may block, so that a slow disk holds up nobody else's."""

import asyncio
import errno
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

from krater.errors import Temporary

COUNT: Final = 16

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class Threads:
    """A bounded set of threads."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(COUNT, thread_name_prefix="oci")

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

    def close(self) -> None:
        """Let the threads end."""
        self._pool.shutdown(wait=False)

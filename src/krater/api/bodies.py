"""The layer that never lets more of a body in than the operator allows, however it is sent."""

import asyncio
from collections.abc import Callable, MutableMapping
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from krater.api.errors import TooLarge
from krater.api.requests import Request, request_of

_CLOSE = ((b"connection", b"close"),)
_MOST_DISCARDED = 16 << 20
_DISCARD_WITHIN = 5.0


class BodyLimit:
    """Counts what arrives, and trusts Content-Length only to refuse earlier. `larger` tells of requests with a limit
    of their own; None is the usual one."""

    def __init__(self, app: ASGIApp, limit: int, larger: Callable[[Request], int | None] = lambda _: None) -> None:
        self._app = app
        self._limit = limit
        self._larger = larger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = request_of(scope)
        limit = self._larger(request) or self._limit
        declared = request.headers.get(b"content-length")
        if declared is not None and declared.isdigit() and int(declared) > limit:
            await _discard(receive)
            raise _refusal(limit)
        came = 0

        async def counting() -> MutableMapping[str, Any]:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > limit:
                await _discard(receive)
                raise _refusal(limit)
            return message

        request.receive = counting
        await self._app(scope, counting, send)


def _refusal(limit: int) -> TooLarge:
    """Closing the connection spares both sides the rest of the body."""
    return TooLarge(f"The request body is larger than the {limit} bytes allowed here.", headers=_CLOSE)


async def _discard(receive: Receive) -> None:
    """Let go by what still comes, within bounds: most clients read no answer before they have sent everything."""
    left = _MOST_DISCARDED
    try:
        async with asyncio.timeout(_DISCARD_WITHIN):
            while left > 0:
                message = await receive()
                if not message.get("more_body", False):
                    return
                left -= len(message.get("body", b""))
    except TimeoutError:
        return

"""The layer that never lets more of a body in than the operator allows, however it is sent."""

from collections.abc import MutableMapping
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from krater.api.errors import TooLarge
from krater.api.requests import request_of

_CLOSE = ((b"connection", b"close"),)


class BodyLimit:
    """Counts what arrives, and trusts Content-Length only to refuse earlier."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = request_of(scope)
        declared = request.headers.get(b"content-length")
        if declared is not None and declared.isdigit() and int(declared) > self._limit:
            raise self._refusal()
        came = 0

        async def counting() -> MutableMapping[str, Any]:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > self._limit:
                raise self._refusal()
            return message

        request.receive = counting
        await self._app(scope, counting, send)

    def _refusal(self) -> TooLarge:
        """Closing the connection spares both sides the rest of the body."""
        return TooLarge(f"The request body is larger than the {self._limit} bytes allowed here.", headers=_CLOSE)

"""Connections that nobody can exhaust us with, before they have said who they are.

uvicorn bounds neither how long the head of a request may be, nor how long one may take to send it, nor how many
connections there are; each of them costs memory or a descriptor that containers need.
"""

import asyncio
import resource

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LARGEST_HEAD = 64 * 1024  # and what comes in one piece with its end
HEAD_WITHIN, REQUEST_WITHIN = 30.0, 300.0
MOST_CONNECTIONS = 4096
PATIENCE = "krater.patience"  # an ASGI extension: `allow` is to be called when the body of a request may take long
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class BoundedConnection(HttpToolsProtocol):
    """uvicorn's protocol with these bounds. A request that comes whole, as nearly all do, costs no timer."""

    _head: int | None = 0  # bytes of the head so far; None: the head is complete
    _is_whole = False
    _is_new = False
    _is_patient = False
    _has_come = False
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if len(self.connections) > min(MOST_CONNECTIONS, descriptors // 2):
            transport.abort()
            return
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._rest()

    def data_received(self, data: bytes) -> None:
        self._is_new = False
        self._has_come = True
        super().data_received(data)
        if self._head is not None and not self._is_new and not self._is_whole:
            self._head += len(data)
            if self._head > LARGEST_HEAD:
                self._rest()
                self.transport.write(_TOO_LARGE)
                self.transport.close()
                return
        if self._is_whole or self.transport.is_closing():
            self._rest()
        elif self._timer is None:
            self._watch()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head, self._is_whole, self._is_new = 0, False, True
        self._is_patient = False

    def on_headers_complete(self) -> None:
        self.scope["extensions"] = {PATIENCE: {"allow": self._be_patient}}
        super().on_headers_complete()
        self._head = None

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._is_whole = True

    def _watch(self) -> None:
        """Give what is due some time to come."""
        self._timer = self.loop.call_later(HEAD_WITHIN, self._head_is_due)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _head_is_due(self) -> None:
        if self._head is not None:
            self.transport.close()
        else:
            self._timer = self.loop.call_later(REQUEST_WITHIN - HEAD_WITHIN, self._rest_is_due)

    def _rest_is_due(self) -> None:
        """Of a request that may take its time only something must have come since the last look."""
        if self._is_patient and self._has_come:
            self._has_come = False
            self._timer = self.loop.call_later(REQUEST_WITHIN, self._rest_is_due)
        else:
            self.transport.close()

    def _be_patient(self) -> None:
        """Whoever serves the request knows who asks, and that the body may take long."""
        self._is_patient = True

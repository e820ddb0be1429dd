"""From errors to error documents: the one table of status codes, and the layer that applies it.

    {"errors": [{"request_id", "code": "container.<code>", "status", "title", "detail", "links": []}]}

`title` is what clients show to people. Nothing internal gets out: what was not raised on purpose is logged with its
traceback and answered with a correlation id only.
"""

from typing import Any
from uuid import uuid4

import msgspec
import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from krater.api.requests import Answer, request_of, send_answer
from krater.errors import (
    Conflict,
    Failed,
    Forbidden,
    Invalid,
    KraterError,
    NotFound,
    OverQuota,
    Rejected,
    Temporary,
    Unauthenticated,
    Unsupported,
)

_log = structlog.get_logger(__name__)

STATUS: dict[type[KraterError], int] = {
    Invalid: 400,
    Unauthenticated: 401,
    Forbidden: 403,
    OverQuota: 403,
    NotFound: 404,
    Conflict: 409,
    Unsupported: 501,
    Rejected: 400,
    Temporary: 503,
    Failed: 500,
    KraterError: 500,
}

_UNEXPECTED = "Something went wrong inside Krater; its operator finds the reason in the log."


class HttpRejected(Rejected):
    """Wrong at the level of HTTP, before any handler: carries its own status, and headers that go with it."""

    status = 400
    code = ""

    def __init__(
        self, message: str, *, headers: tuple[tuple[bytes, bytes], ...] = (), code: str | None = None, **extra: Any
    ) -> None:
        super().__init__(message, code=code)
        self.headers = headers
        self.extra = extra


class UnknownPath(HttpRejected):
    """No such URL."""

    status = 404


class WrongMethod(HttpRejected):
    """The URL exists, but not with this method."""

    status = 405


class NotAcceptable(HttpRejected):
    """A microversion that is not served, or at which this operation does not exist."""

    status = 406


class TooLarge(HttpRejected):
    """The body is larger than the operator allows."""

    status = 413
    code = "request-too-large"


class WrongMediaType(HttpRejected):
    """The body is not JSON by its own account."""

    status = 415
    code = "unsupported-media-type"


def status_of(error: KraterError) -> int:
    """The HTTP status of an error: that of its nearest ancestor in the table."""
    if isinstance(error, HttpRejected):
        return error.status
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def error_answer(error: KraterError, request_id: str) -> Answer:
    """The answer that tells the caller of an error raised on purpose."""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    code, extra = f"container.{error.code}", {}
    if isinstance(error, HttpRejected):
        headers, extra = error.headers, error.extra
        code = error.code if "." in error.code else code
    elif isinstance(error, Unauthenticated):
        headers = _challenge(error)
    return Answer(status_of(error), _document(status_of(error), code, error.message, request_id, **extra), headers)


def _challenge(error: Unauthenticated) -> tuple[tuple[bytes, bytes], ...]:
    challenge = ((b"www-authenticate", b'Basic realm="krater", charset="UTF-8"'),)
    if error.retry_after is None:
        return challenge
    return (*challenge, (b"retry-after", b"%d" % max(1, round(error.retry_after + 0.5))))


def _document(status: int, code: str, title: str, request_id: str, detail: str | None = None, **extra: Any) -> bytes:
    entry = {
        "request_id": request_id,
        "code": code,
        "status": status,
        "title": title,
        "detail": title if detail is None else detail,
        "links": [],
        **extra,
    }
    return msgspec.json.encode({"errors": [entry]})


class ErrorDocuments:
    """Turns whatever is raised further in into an error document."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = request_of(scope)
        try:
            await self._app(scope, receive, send)
        except KraterError as error:
            status = status_of(error)
            if status >= 500 and status != STATUS[Unsupported]:
                _log.warning(
                    "request failed",
                    request_id=request.id,
                    origin=request.origin,
                    path=request.path,
                    reason=error.message,
                )
            await self._answer(send, request.answered, error_answer(error, request.id), error)
        except Exception as error:
            correlation = str(uuid4())
            _log.exception(
                "unexpected error",
                request_id=request.id,
                origin=request.origin,
                correlation_id=correlation,
                path=request.path,
            )
            detail = f"{_UNEXPECTED} Error Correlation id is: {correlation}"
            body = _document(500, "container.", "Internal Server Error", request.id, detail)
            await self._answer(send, request.answered, Answer(500, body), error)

    @staticmethod
    async def _answer(send: Send, answered: bool, answer: Answer, error: Exception) -> None:
        """Once an answer has begun there is no taking it back: the server then cuts the connection."""
        if answered:
            raise error
        await send_answer(send, answer)

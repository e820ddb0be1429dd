"""Every error the client raises on purpose.

ClientError
├── AccessError              it is not known whom to ask, or as whom; nothing was sent
├── Unreachable              nothing answered: refused, timed out, TLS not trusted
├── BadAnswer                something answered that does not speak Krater's API
├── BadArchive               files that were copied out of a container are not taken as they are
├── NotSettled               a container did not come to rest in the time given
└── ApiError                 Krater answered that it did not do it
    ├── InvalidRequest       400, 406, 413, 415, 422
    ├── NotAuthenticated     401 (`retry_after` seconds, when the caller is slowed down)
    ├── NotAllowed           403: policy, or quota
    ├── NotFound             404: no such thing, or none that the caller may see
    ├── Conflict             409: its state does not allow this, or a name means several things
    ├── NotThere             405, 501: this server does not do it (yet)
    └── ServerFailed         5xx
        └── NotNow           503, 429: worth trying again
"""

from collections.abc import Mapping


class ClientError(Exception):
    """Root of the tree. `title` is one sentence for the person who asked."""

    def __init__(self, title: str) -> None:
        super().__init__(title)
        self.title = title


class AccessError(ClientError):
    """It is not known whom to ask, or as whom; nothing was sent."""


class Unreachable(ClientError):
    """Nothing answered. `refused` says that the machine is there but no program listens."""

    def __init__(self, title: str, *, refused: bool = False) -> None:
        super().__init__(title)
        self.refused = refused


class BadAnswer(ClientError):
    """Something answered that does not speak Krater's API."""


class BadArchive(ClientError):
    """Files that were to be copied out of a container are not taken as they are: they might do harm here."""


class NotSettled(ClientError):
    """A container did not come to rest in the time given."""


class ApiError(ClientError):
    """Krater answered that it did not do it; `request_id` finds the request in the server's log."""

    def __init__(self, title: str, *, status: int, code: str = "", detail: str = "", request_id: str = "") -> None:
        super().__init__(title)
        self.status = status
        self.code = code
        self.detail = detail
        self.request_id = request_id
        self.retry_after: float | None = None


class InvalidRequest(ApiError):
    """The request itself is wrong."""


class NotAuthenticated(ApiError):
    """Credentials are missing or wrong."""


class NotAllowed(ApiError):
    """The caller is known and may not do this, or has no quota left for it."""


class NotFound(ApiError):
    """No such thing, or none that the caller may see."""


class Conflict(ApiError):
    """The state of the thing does not allow this, or its name means several things."""


class NotThere(ApiError):
    """This server does not do it (yet)."""


class ServerFailed(ApiError):
    """The server could not do it."""


class NotNow(ServerFailed):
    """A part that is needed does not answer now; worth trying again."""


_BY_STATUS: Mapping[int, type[ApiError]] = {
    401: NotAuthenticated,
    403: NotAllowed,
    404: NotFound,
    405: NotThere,
    409: Conflict,
    429: NotNow,
    501: NotThere,
    503: NotNow,
}


def error_class(status: int) -> type[ApiError]:
    """The class of the tree that an HTTP status belongs to."""
    return _BY_STATUS.get(status) or (ServerFailed if status >= 500 else InvalidRequest)

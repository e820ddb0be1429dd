"""Every error Krater raises on purpose.

    KraterError
    ├── Rejected              the caller can fix it; never retried
    │   ├── Invalid           the request itself is wrong                       (400)
    │   ├── Unauthenticated   nobody we know                                    (401)
    │   ├── Forbidden         somebody we know, who may not                     (403)
    │   ├── OverQuota         the project has no room left                      (403)
    │   ├── NotFound          no such thing, or none that you may see           (404)
    │   ├── Conflict          the thing is in a state that does not allow it    (409)
    │   └── Unsupported       Krater does not do this (yet)                     (501)
    └── Failed
        ├── Temporary         worth trying again, with back-off
        │   ├── Unavailable   a part we need is down                            (503)
        │   └── NoCapacity    no node can take it; carries every filter's explanation
        └── Permanent         give up; becomes the workload's reason and status Error

The numbers are what `api/errors.py` makes of them; nothing below the API knows HTTP. Messages are plain
sentences for the person who made the request; data a program needs are attributes.
"""

from collections.abc import Mapping


class KraterError(Exception):
    """Root of all errors raised on purpose. `message` is one plain sentence."""

    code = "error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code


class Rejected(KraterError):
    """The caller can fix it; never retried."""

    code = "rejected"


class Invalid(Rejected):
    """The request is wrong. `field` names the part of it that is, when there is one."""

    code = "invalid"

    def __init__(self, message: str, *, field: str | None = None, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.field = field


class Unauthenticated(Rejected):
    """No valid credentials came with the request. `retry_after` is seconds, when the caller is slowed down."""

    code = "unauthorized"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Forbidden(Rejected):
    """The caller is known and may not do this."""

    code = "policy-not-authorized"


class OverQuota(Rejected):
    """The project's quota has no room for this."""

    code = "over-quota"


class NotFound(Rejected):
    """No such thing, or none that the caller may see: the two are never told apart."""

    code = "not-found"


class Conflict(Rejected):
    """The thing exists but its state does not allow this, or another caller was first."""

    code = "conflict"


class Unsupported(Rejected):
    """Krater does not do this (yet)."""

    code = "not-implemented"


class Failed(KraterError):
    """Krater, or something it depends on, could not do it."""

    code = "failed"


class Temporary(Failed):
    """Worth trying again."""

    code = "temporary"


class Unavailable(Temporary):
    """A part that is needed does not answer now."""

    code = "unavailable"


class NoCapacity(Temporary):
    """No node can take the workload. `explanations` maps a node's name to what each filter said of it."""

    code = "no-valid-host"

    def __init__(self, message: str, explanations: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.explanations: dict[str, str] = dict(explanations or {})


class Permanent(Failed):
    """Trying again would end the same way; the message becomes the workload's `status_reason`."""

    code = "permanent"

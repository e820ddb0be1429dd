"""Which operation is allowed in which status: one table, as the API's specification has it.

It is wider in one point, so that nobody is stuck with a container that goes on failing: one that is created for ever
or starts again and again can be stopped, read and (with `stop`) removed by its owner, not by administrators alone.
"""

from krater.model.status import (
    CREATED,
    CREATING,
    DELETING,
    ERROR,
    PAUSED,
    REBUILDING,
    RESTARTING,
    RUNNING,
    STOPPED,
    UNKNOWN,
)

_RUNNING_ONLY = frozenset({RUNNING})
_LIVE = frozenset({CREATED, RUNNING, STOPPED, PAUSED})
_REMOVABLE = frozenset({CREATED, ERROR, STOPPED, "Deleted", "Dead"})

ALLOWED: dict[str, frozenset[str]] = {
    "start": frozenset({CREATED, STOPPED, ERROR}),
    "stop": _RUNNING_ONLY | {RESTARTING},
    "reboot": frozenset({CREATED, RUNNING, STOPPED, ERROR}),
    "rebuild": frozenset({CREATED, RUNNING, STOPPED, ERROR}),
    "pause": _RUNNING_ONLY,
    "unpause": frozenset({PAUSED}),
    "kill": _RUNNING_ONLY,
    "execute": _RUNNING_ONLY,
    "execute_resize": _RUNNING_ONLY,
    "attach": _RUNNING_ONLY,
    "resize": _RUNNING_ONLY,
    "top": _RUNNING_ONLY,
    "stats": _RUNNING_ONLY,
    "update": _LIVE,
    "resize_container": _LIVE,
    "add_security_group": _LIVE,
    "remove_security_group": _LIVE,
    "get_archive": _LIVE,
    "put_archive": _LIVE,
    "logs": frozenset({CREATED, RUNNING, STOPPED, PAUSED, ERROR, UNKNOWN, RESTARTING}),
    "commit": frozenset({RUNNING, STOPPED, PAUSED}),
    "delete": _REMOVABLE,
    "delete_force": _REMOVABLE | {CREATING, RUNNING, UNKNOWN, RESTARTING, REBUILDING, DELETING},
    "delete_stop": _REMOVABLE | {CREATING, RUNNING, PAUSED, UNKNOWN, RESTARTING, REBUILDING},
}


def is_allowed(operation: str, status: str) -> bool:
    """Whether the table allows it. Operations that are not in the table are allowed in any status."""
    allowed = ALLOWED.get(operation)
    return allowed is None or status in allowed


CAPSULE_ALLOWED: dict[str, frozenset[str]] = {
    "start": frozenset({CREATED, STOPPED, ERROR}),
    "stop": frozenset({CREATING, RUNNING, RESTARTING, PAUSED, ERROR}),
    "reboot": frozenset({CREATED, RUNNING, STOPPED, RESTARTING, PAUSED, ERROR}),
}
"""The same for capsules as a whole, where the words mean that some members may still run, or do again."""


def is_allowed_on_capsule(operation: str, status: str) -> bool:
    """Whether this table allows it. Operations that are not in it are allowed in any status."""
    allowed = CAPSULE_ALLOWED.get(operation)
    return allowed is None or status in allowed

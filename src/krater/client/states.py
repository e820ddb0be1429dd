"""What the words of the status of a container, or a capsule, mean for somebody who waits. Pure."""

import re

from krater.client.answers import Container
from krater.client.capsule_answers import Capsule, members_of

_RESTLESS = frozenset({"Creating", "Rebuilding", "Deleting"})
_OVER = frozenset({"Stopped", "Error", "Dead", "Deleted", "Created"})
_EXITED = re.compile(r"Exited ?\((-?\d+)\)")


def is_settled(container: Container) -> bool:
    """Whether nothing is being done to the container: it is what it was asked to be, or has failed to."""
    return not container["task_state"] and container["status"] not in _RESTLESS


def is_over(container: Container) -> bool:
    """Whether no process runs and none will unless somebody asks."""
    return is_settled(container) and container["status"] in _OVER


def is_capsule_settled(capsule: Capsule) -> bool:
    """Whether nothing is being done to the capsule nor to a member: all is as it was asked to be, or has failed to."""
    is_restless = capsule["status"] in _RESTLESS or any(member["task_state"] for member in members_of(capsule))
    return not is_restless


def is_capsule_over(capsule: Capsule) -> bool:
    """Whether none of its ordinary members runs and none will unless somebody asks."""
    return is_capsule_settled(capsule) and capsule["status"] in _OVER


def exit_code(container: Container) -> int | None:
    """The exit code of the container's last process, if one ended and the server knows how."""
    found = _EXITED.search(container["status_detail"] or "")
    return int(found.group(1)) if found else None


def is_id(text: str) -> bool:
    """Whether the text could be the beginning of an id."""
    return re.fullmatch(r"[0-9a-f][0-9a-f-]{0,35}", text) is not None

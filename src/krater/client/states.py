"""What the words of a container's status mean for somebody who waits. Pure."""

import re

from krater.client.answers import Container

_RESTLESS = frozenset({"Creating", "Rebuilding", "Deleting"})
_OVER = frozenset({"Stopped", "Error", "Dead", "Deleted", "Created"})
_EXITED = re.compile(r"Exited ?\((-?\d+)\)")


def is_settled(container: Container) -> bool:
    """Whether nothing is being done to the container: it is what it was asked to be, or has failed to."""
    return not container["task_state"] and container["status"] not in _RESTLESS


def is_over(container: Container) -> bool:
    """Whether no process runs and none will unless somebody asks."""
    return is_settled(container) and container["status"] in _OVER


def exit_code(container: Container) -> int | None:
    """The exit code of the container's last process, if one ended and the server knows how."""
    found = _EXITED.search(container["status_detail"] or "")
    return int(found.group(1)) if found else None


def is_id(text: str) -> bool:
    """Whether the text could be the beginning of an id."""
    return re.fullmatch(r"[0-9a-f][0-9a-f-]{0,35}", text) is not None

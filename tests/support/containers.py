"""Containers of a real server in a few words: made, waited for, removed."""

from typing import Any

from krater.client.answers import Container
from tests.support.leftovers import leftovers
from tests.support.server import Server, eventually

SLEEP = ["sleep", "1000"]


def shown(server: Server, container: str) -> Container:
    """As it is now."""
    return server.client().containers.show(container)


def made(server: Server, command: list[str] | None = None, **wanted: Any) -> str:
    """Ask for one to be made and started; its id, at once."""
    brief: dict[str, Any] = {"image": "busybox", "memory": "32", "cpu": 0.1, "command": command or SLEEP, **wanted}
    return server.client().containers.run(**brief)["uuid"]


def running(server: Server, command: list[str] | None = None, **wanted: Any) -> str:
    """One that runs; its id."""
    uuid = made(server, command, **wanted)
    ends_up(server, uuid, "Running")
    return uuid


def ends_up(server: Server, container: str, status: str, within: float = 20.0) -> Container:
    """As it is once it has this status, and nothing more is being done to it."""
    last: list[Container] = []

    def is_so() -> bool:
        last[:] = [shown(server, container)]
        return last[0]["status"] == status and not last[0]["task_state"]

    try:
        eventually(is_so, within=within, what=f"{container} being {status}")
    except AssertionError as error:
        state = last[0]
        raise AssertionError(f"{error}: {state['status']} {state['task_state']} {state['status_reason']}") from None
    return last[0]


def said(server: Server, command: list[str], **wanted: Any) -> str:
    """What a command says in a container of its own, which is removed then."""
    uuid = made(server, command, **wanted)
    ends_up(server, uuid, "Stopped")
    text = server.client().containers.logs(uuid)
    remove(server, uuid)
    return text


def remove(server: Server, *containers: str) -> None:
    """Have them gone."""
    client = server.client()
    for uuid in containers:
        is_paused = shown(server, uuid)["status"] == "Paused"
        client.containers.delete(uuid, stop=is_paused, force=not is_paused)
    for uuid in containers:
        assert client.containers.wait(uuid, "gone", timeout=30) is None


def remove_all(server: Server) -> None:
    """Have all gone, and nothing left of them."""
    remove(server, *[c["uuid"] for c in server.client().containers.list(all_projects=True)])
    eventually(lambda: not leftovers(server), what="nothing left over")

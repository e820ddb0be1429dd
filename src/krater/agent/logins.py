"""Logins for registries: asked of the controller when an image is about to be pulled, and not kept."""

from krater.agent.runtimes.interfaces import Asker
from krater.bus.interfaces import CONTROLLER, Bus
from krater.bus.messages import AskLogin
from krater.errors import Conflict, NotFound
from krater.model.registry import Login

_TIMEOUT = 30.0


def asking(bus: Bus, node: str, project: str, workload: str | None, container: str, image: str) -> Asker:
    """Who asks a registry for an image: the project of a container, or the operator (no workload)."""

    async def login() -> Login | None:
        try:
            return await bus.call(CONTROLLER, AskLogin(node, workload, container, image), _TIMEOUT)
        except NotFound as error:  # it was just moved or removed: the next answer of the controller tells
            raise Conflict(error.message) from error

    return Asker(project, login)

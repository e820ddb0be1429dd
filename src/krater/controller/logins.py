"""Logins for registries: told to the node that is about to pull an image of a workload placed on it, and to no other.

They are in no assignment and in no report: a node asks each time it pulls, and forgets.
"""

from pathlib import Path

from krater.bus.messages import AskLogin
from krater.cloud.interfaces import Vault
from krater.config import RegistrySettings
from krater.errors import NotFound, Permanent
from krater.model.image import parse_image
from krater.model.registry import Login, Registry
from krater.model.workload import ContainerSpec
from krater.store.interfaces import EVERYBODY, Store, Tx


class Logins:
    """Answers `AskLogin`."""

    def __init__(self, store: Store, vault: Vault, settings: RegistrySettings) -> None:
        self._store = store
        self._vault = vault
        self._settings = settings

    async def ask(self, message: AskLogin) -> Login | None:
        """The login for the image of a container, or of an image task; None when it is had without one.

        NotFound when the node has no such container; Permanent when the password cannot be read.
        """
        if message.workload is None:
            return self._default(parse_image(message.image).domain)
        container, registry = await self._store.read(lambda tx: _look(tx, message))
        if registry is None:
            return self._default(parse_image(container.image, self._settings.default).domain)
        if registry.username is None or registry.sealed is None:
            return None
        return Login(registry.domain, registry.username, self._vault.open(registry.id, registry.sealed))

    def _default(self, domain: str) -> Login | None:
        """The operator's own, for the default registry: everybody's containers may be of its images."""
        own = self._settings
        if not own.default_username or domain != parse_image("name", own.default).domain:
            return None
        try:
            password = Path(own.default_password_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Permanent("The password for the default registry cannot be read.") from error
        return Login(domain, own.default_username, password, shared=True)


def _look(tx: Tx, message: AskLogin) -> tuple[ContainerSpec, Registry | None]:
    workload = tx.workloads.get(EVERYBODY, message.workload or "", None)
    container = next((c for c in workload.spec.containers if c.id == message.container), None)
    if container is None or workload.placement.node != message.node:
        raise NotFound("There is no such container on this node.")
    if container.registry is None:
        return container, None
    registry = tx.registries.by_ids([container.registry]).get(container.registry)
    if registry is None or registry.project_id != workload.project_id:
        raise Permanent("The registry of the container's image is gone.")
    return container, registry

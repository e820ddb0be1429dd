"""Networks and ports that users make themselves."""

from collections.abc import Callable, Sequence
from uuid import uuid4

from krater.cloud.interfaces import Caller
from krater.cloud.local.networks import DEFAULT_NAME, LocalNetworks, insist, make_network
from krater.cloud.local.nics import check_addresses
from krater.config import NetworkSettings
from krater.errors import Conflict, NotFound
from krater.model.network import Network, Port
from krater.store.interfaces import Scope, Store, Tx

_MOST_NETWORKS, _MOST_PORTS = 20, 200


class LocalOwnNetworks:
    """OwnNetworks over Krater's store. What one project can have is bounded: ranges are everybody's."""

    def __init__(self, store: Store, settings: NetworkSettings, networks: LocalNetworks) -> None:
        self._store = store
        self._settings = settings
        self._networks = networks

    async def list(self, caller: Caller) -> Sequence[Network]:
        """The caller's and the shared ones; the default one at least."""
        await self._networks.resolve(caller, ())
        return await self._store.read(lambda tx: tx.networks.list(Scope(caller.project_id)))

    async def get(self, caller: Caller, ident: str) -> Network:
        """By id or name."""
        if ident == DEFAULT_NAME:
            await self._networks.resolve(caller, ())
        return await self._store.read(lambda tx: tx.networks.get(Scope(caller.project_id), ident))

    async def create(self, caller: Caller, name: str, *, internal: bool, shared: bool = False) -> Network:
        """With a range of its own."""

        def make(tx: Tx) -> Network:
            own = [n for n in tx.networks.list(Scope(caller.project_id)) if n.project_id == caller.project_id]
            _refuse(len(own) >= _MOST_NETWORKS, f"A project can have {_MOST_NETWORKS} networks.")
            _refuse(any(n.name == name for n in own), f"The project has a network {name!r} already.")
            return make_network(tx, self._settings, caller.project_id, name, internal=internal, shared=shared)

        return await insist(self._store, make)

    async def delete(self, caller: Caller, ident: str) -> None:
        """Only one's own, and only when nothing uses it."""
        await self._write(caller, lambda tx, scope: tx.networks.delete(scope, ident))

    async def ports(self, caller: Caller) -> Sequence[Port]:
        """All ports of the project."""
        return await self._store.read(lambda tx: tx.networks.ports(Scope(caller.project_id)))

    async def create_port(
        self, caller: Caller, network: str, addresses: Sequence[str], groups: Sequence[str] | None = None
    ) -> Port:
        """A port that is the user's."""

        def make(tx: Tx) -> Port:
            scope = Scope(caller.project_id)
            kept = [port for port in tx.networks.ports(scope) if not port.owned]
            _refuse(len(kept) >= _MOST_PORTS, f"A project can keep {_MOST_PORTS} ports.")
            place = tx.networks.get(scope, network)
            wanted = check_addresses(place, addresses)
            port = Port(uuid4().hex, place.id, caller.project_id, mac="", fixed_ips=(), owned=False)
            made = tx.networks.add_port(port, wanted)
            default = tx.security_groups.ensure_default(caller.project_id)
            tx.security_groups.join(made.id, (default.id,) if groups is None else groups)
            return made

        return await self._store.write(make)

    async def delete_port(self, caller: Caller, id: str) -> None:
        """Only one that the user made: those of containers go with them."""

        def remove(tx: Tx, scope: Scope) -> None:
            if tx.networks.get_port(scope, id).owned:
                raise NotFound(f"port {id} is its container's own and goes with it")
            tx.networks.delete_port(scope, id)
            tx.security_groups.leave(id)

        await self._write(caller, remove)

    async def _write(self, caller: Caller, change: Callable[[Tx, Scope], None]) -> None:
        await self._store.write(lambda tx: change(tx, Scope(caller.project_id)))


def _refuse(refused: bool, why: str) -> None:
    if refused:
        raise Conflict(why)

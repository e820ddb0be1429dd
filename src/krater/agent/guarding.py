"""What the controller says of security groups, told to the network when it is news.

The network has one thread, and a start waits for it once already. Most answers bring another container of groups whose
rules are known: nothing needs to be said then, since a card brings its groups along.
"""

from krater.agent.vif.interfaces import Vif
from krater.bus.messages import PullAnswer
from krater.model.security import GroupRules


class Guarding:
    """Remembers what was told. A failure forgets it: then everything is told again."""

    def __init__(self, vif: Vif) -> None:
        self._vif = vif
        self._groups: dict[str, GroupRules] = {}
        self._ports: dict[str, tuple[str, ...] | None] = {}

    async def keep(self, answer: PullAnswer) -> None:
        """Have the rules hold that an answer brings, before its assignments are taken."""
        nics = {nic.port: nic for assignment in answer.assignments for nic in assignment.nics}
        ports = {port: nic.groups for port, nic in nics.items()}
        groups = {group.id: group for group in answer.groups}
        if answer.complete or self._is_news(groups, ports):
            try:
                await self._vif.guard(answer.groups, list(nics.values()), is_all=answer.complete)
            except BaseException:
                self._groups, self._ports = {}, {}
                raise
        if answer.complete:
            self._groups, self._ports = {}, {}
        self._groups |= groups
        self._ports |= ports

    def _is_news(self, groups: dict[str, GroupRules], ports: dict[str, tuple[str, ...] | None]) -> bool:
        if any(self._groups.get(id) != group for id, group in groups.items()):
            return True
        return any(port in self._ports and self._ports[port] != asked for port, asked in ports.items())

"""The tables of `guards.py` in the kernel, kept in step with the plugged cards. Blocking; one thread at a time.

What cards and groups there are is remembered between calls; what of it the kernel has is believed only after a
transaction of our own, and a failure makes the next one replace everything. A new process believes nothing: the tables
stay as they were until it has been told all cards and groups once (`settle`).
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from krater.agent.vif.bridges import Bridge
from krater.agent.vif.firewall import Firewall, table_name
from krater.agent.vif.guards import Guarded, Layout, guarded, layout, replacement, transition
from krater.agent.vif.marks import Marks
from krater.errors import KraterError, Permanent
from krater.model.network import Nic
from krater.model.security import GroupRules

_BRIDGES_ARE_SEEN = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")


class GuardTables:
    """Which rules hold for which card."""

    def __init__(self, marks: Marks, firewall: Firewall) -> None:
        self._marks, self._firewall = marks, firewall
        self._table = f"{table_name(marks)}_groups"
        self._groups: dict[str, GroupRules] = {}
        self._asked: dict[str, tuple[str, ...] | None] = {}
        self._cards: dict[str, tuple[str, Guarded]] = {}
        self._known: Layout | None = None

    def settle(self, groups: Sequence[GroupRules], nics: Sequence[Nic], plugged: Mapping[str, Iterable[str]]) -> None:
        """All groups and cards there are: forget the rest. `plugged` is what the kernel has, by sandbox."""
        self._groups = {group.id: group for group in groups}
        self._asked = {nic.port: nic.groups for nic in nics}
        wanted = {nic.port: nic for nic in nics}
        self._cards = {
            port: (sandbox, guarded(self._marks, self._bridge(wanted[port]), wanted[port]))
            for sandbox, ports in plugged.items()
            for port in ports
            if port in wanted
        }
        self._known = None  # whoever else had a hand in our tables: now and then they are made anew
        self._install()

    def update(self, groups: Sequence[GroupRules], nics: Sequence[Nic]) -> None:
        """News of some groups and cards."""
        self._groups |= {group.id: group for group in groups}
        for nic in nics:
            self._asked[nic.port] = nic.groups
            if nic.port in self._cards:
                sandbox, card = self._cards[nic.port]
                self._cards[nic.port] = (sandbox, guarded(self._marks, card.bridge, nic))
        self._install()

    def admit(self, sandbox: str, nic: Nic, bridge: Bridge) -> None:
        """A card is about to come up on this bridge: its rules first. What was told of it last counts."""
        card = guarded(self._marks, bridge.name, nic)
        if nic.port in self._asked:
            card = Guarded(card.device, card.bridge, card.mac, card.addresses, self._asked[nic.port])
        if card.groups is not None and not _BRIDGES_ARE_SEEN.exists():
            raise Permanent("This node cannot keep security groups: its kernel lacks br_netfilter.")
        self._cards[nic.port] = (sandbox, card)
        self._install()

    def dismiss(self, sandbox: str, port: str | None = None) -> None:
        """A card of a sandbox is gone, or (None) all of them are."""
        gone = [one for one, (where, _) in self._cards.items() if where == sandbox and port in (None, one)]
        for one in gone:
            del self._cards[one]
            self._asked.pop(one, None)
        if gone:
            self._install()

    def clear(self) -> None:
        """No card is left: neither is anything of ours, whoever made it."""
        self._cards.clear()
        self._install()

    def _bridge(self, nic: Nic) -> str:
        return self._marks.bridge(nic.network, nic.internal)

    def _install(self) -> None:
        wanted = layout((card for _, card in self._cards.values()), self._groups)
        before, self._known = self._known, None
        if before is not None and before.sets and wanted.sets:
            commands = transition(self._table, before, wanted)
            try:
                if commands:
                    self._firewall.run(commands)
                self._known = wanted
                return
            except KraterError:
                pass  # somebody else had a hand in our tables: have them whole again
        if before is None or before.sets or wanted.sets:
            self._firewall.run(replacement(self._marks, self._table, wanted))
        self._known = wanted

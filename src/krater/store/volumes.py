"""What the store keeps of volumes and injected files. Import it from `krater.store.interfaces`.

A volume's id, name, project and size are the API's; who holds it is the API's to write with a new workload and the
controller's to take back; its node is the controller's; what the node has of it is folded from the node's reports.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from krater.model.volume import Volume
from krater.store.records import Scope


class Volumes(Protocol):
    """Volumes of the embedded profile, who holds them, and the contents of injected files."""

    def add(self, volume: Volume) -> None:
        """Conflict when the project has one of the name."""

    def list(self, scope: Scope) -> list[Volume]:
        """All, oldest first."""
        ...

    def get(self, scope: Scope, ident: str) -> Volume:
        """By id, else by name. NotFound; Conflict when several have the name. Locks the row in a write transaction."""
        ...

    def use(self, project: str) -> tuple[int, int]:
        """How many the project has that are not being removed, and their GiB together."""
        ...

    def set_size(self, id: str, size: int) -> None:
        """The API's wish."""

    def hold(self, ids: Sequence[str], workload: str) -> None:
        """Give volumes to a workload. Conflict when one is another's, or being removed."""

    def held_by(self, workloads: Sequence[str]) -> Sequence[Volume]:
        """What these workloads hold, oldest first."""
        ...

    def place(self, workload: str, node: str) -> None:
        """From now on the data of those that the workload holds are on this node, where they were nowhere."""

    def remove(self, id: str) -> str | None:
        """Have it removed, its name free at once; the node that has its data, if one may. Conflict while it is held."""
        ...

    def release(self, workload: str) -> set[str]:
        """Free what it holds, have removed what was made for it, forget its files. Nodes with something to remove."""
        ...

    def on_node(self, node: str) -> Sequence[Volume]:
        """All whose data are there."""
        ...

    def observe(self, node: str, stored: Sequence[str], failures: Mapping[str, str]) -> None:
        """Fold a node's complete list of what it stores: what is to be removed and not in it, is gone."""

    def removing(self) -> Sequence[Volume]:
        """All that are to be removed."""
        ...

    def forget_removed(self, node: str) -> int:
        """Forget what is to be removed from a node that will not answer any more. Returns how many."""
        ...

    def holders(self) -> set[str]:
        """Workloads that hold volumes or files."""
        ...

    def add_files(self, workload: str, files: Mapping[str, bytes]) -> None:
        """Keep the contents of injected files, by id."""

    def files(self, workload: str) -> dict[str, bytes]:
        """The contents of a workload's injected files, by id."""
        ...

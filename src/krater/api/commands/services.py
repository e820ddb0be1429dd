"""The operator's word on nodes."""

from krater.errors import NotFound
from krater.model.node import Node
from krater.store.interfaces import Tx

BINARY = "zun-compute"


def find(tx: Tx, host: str, binary: str) -> Node:
    """The node whose agent is meant."""
    try:
        if binary != BINARY:
            raise NotFound("")
        return tx.nodes.get(host)
    except NotFound:
        raise NotFound(
            f"Service {binary[:80]} on host {host[:80]} could not be found.", code="zun-service-not-found"
        ) from None


def set_disabled(tx: Tx, host: str, binary: str, disabled: bool, reason: str | None) -> Node:
    """Whether it takes new workloads."""
    return tx.nodes.set_disabled(find(tx, host, binary).host, disabled, reason)


def set_forced_down(tx: Tx, host: str, binary: str, forced_down: bool) -> Node:
    """Whether it counts as down, whatever it reports."""
    return tx.nodes.set_forced_down(find(tx, host, binary).host, forced_down)


def delete(tx: Tx, host: str, binary: str) -> None:
    """Forget a node that has nothing left. One that lives comes back with its next report."""
    tx.nodes.delete(find(tx, host, binary).host)

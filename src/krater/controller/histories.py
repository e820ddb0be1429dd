"""Closing what is under way in the history of a workload and of its containers, which have histories of their own."""

from datetime import datetime

from krater.store.interfaces import Tx, Workload


def finish(
    tx: Tx, workload: Workload, generation: int, error: str | None, at: datetime, failed: str | None = None
) -> None:
    """Close all unfinished actions of at most this generation. If a member is named, only that one has failed."""
    tx.actions.finish(workload.id, generation, error, at)
    for container in workload.spec.containers:
        if container.id != workload.id:
            tx.actions.finish(container.id, generation, error if failed in (None, container.id) else None, at)

"""Lists that go by what no column has, such as the words for a state: read in batches, and a page of them kept."""

import heapq
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from krater.errors import Invalid, NotFound
from krater.store.interfaces import Page, Scope, Tx, Workload, WorkloadQuery

Matches = Callable[[Workload], bool]
Keys = Mapping[str, Callable[[Workload], Any]]
_BATCH = 200


def sift(
    tx: Tx, reach: Scope, query: WorkloadQuery, page: Page, keys: Keys, matches: Matches | None = None
) -> list[Workload]:
    """A page of those that match. `keys` are what can be sorted by beside the store's columns. Invalid, NotFound."""
    key = keys.get(page.sort_key)
    if key is not None:
        return _by_key(tx, reach, query, page, key, matches)
    try:
        if matches is None:
            return tx.workloads.find(reach, query, page)
        return [*islice(filter(matches, _walk(tx, reach, query, page)), page.limit)]
    except Invalid as error:
        more = f", {', '.join(sorted(keys))}" if error.field == "sort_key" else ""
        raise Invalid(f"{error.message}{more}", field=error.field, code=error.code) from None


def _by_key(
    tx: Tx, reach: Scope, query: WorkloadQuery, page: Page, key: Callable[[Workload], Any], matches: Matches | None
) -> list[Workload]:
    """All are looked at for it, and no more than a page is held. The order of creation settles ties."""

    def place(workload: Workload) -> tuple[Any, int]:
        return key(workload), workload.seq

    found = _walk(tx, reach, query, Page(_BATCH))
    chosen = found if matches is None else filter(matches, found)
    if page.marker is not None:
        mark = place(_marked(tx, reach, query, page.marker))
        chosen = (one for one in chosen if (place(one) < mark if page.descending else place(one) > mark))
    pick = heapq.nlargest if page.descending else heapq.nsmallest
    return pick(page.limit, chosen, key=place)


def _walk(tx: Tx, reach: Scope, query: WorkloadQuery, page: Page) -> Iterator[Workload]:
    batch = replace(page, limit=max(page.limit, _BATCH))
    while True:
        came = tx.workloads.find(reach, query, batch)
        yield from came
        if len(came) < batch.limit:
            return
        batch = replace(batch, marker=came[-1].id)


def _marked(tx: Tx, reach: Scope, query: WorkloadQuery, marker: str) -> Workload:
    for workload in tx.workloads.by_ids([marker]):
        if workload.kind is query.kind and reach.project in (None, workload.project_id):
            return workload
    raise NotFound(f"There is no {query.kind.value} {marker[:255]}.")

"""Choosing nodes for a workload: pure."""

from collections import Counter
from collections.abc import Sequence

from krater.controller.scheduler.filters import Ask, Objection, objections
from krater.controller.scheduler.weighers import Weigher, rank
from krater.errors import NoCapacity
from krater.model.node import Capacity

REFUSAL = "There are not enough hosts available."
_MOST_REASONS = 3


def select(ask: Ask, capacities: Sequence[Capacity], weigher: Weigher) -> list[Capacity]:
    """The nodes that can take it, best first. NoCapacity, with what was said of each node, when none can."""
    found = {c.node.id: objections(ask, c) for c in capacities}
    fitting = [c for c in capacities if not found[c.node.id]]
    if fitting:
        return rank(fitting, weigher)
    said = {c.node.host: "; ".join(o.detail for o in found[c.node.id]) for c in capacities}
    raise NoCapacity(explain(list(found.values())), said)


def explain(found: Sequence[Sequence[Objection]]) -> str:
    """One short sentence for the user, out of the objections to each node: reasons and how often, never names."""
    if not found:
        return f"{REFUSAL} No host has reported yet."
    counts = Counter(said[0].reason for said in found)
    told = [
        f"{reason} ({count} of {len(found)})" if len(found) > 1 else reason
        for reason, count in counts.most_common(_MOST_REASONS)
    ]
    rest = len(counts) - len(told)
    more = f", {rest} more reasons" if rest > 0 else ""
    text = ", ".join(told) + more
    return f"{REFUSAL} {text[0].upper()}{text[1:]}."

"""Processors of a node: how sets of them are written, and which a container gets."""

import pytest

from krater.model.node import Inventory, NumaNode, choose_processors, format_processors, parse_processors

TWO_SOCKETS = Inventory(
    8, 1024, 1, dedicated=(1, 2, 3, 5, 6), numa=(NumaNode(0, (0, 1, 2, 3), 512), NumaNode(1, (4, 5, 6, 7), 512))
)


@pytest.mark.parametrize(
    ("text", "cpus"), [("", ()), ("0", (0,)), ("0-3,8", (0, 1, 2, 3, 8)), (" 2-3,6\n", (2, 3, 6)), ("3-2", ())]
)
def test_sets_are_read_as_the_kernel_writes_them(text: str, cpus: tuple[int, ...]) -> None:
    assert parse_processors(text) == cpus
    assert parse_processors(format_processors(cpus)) == cpus


@pytest.mark.parametrize(
    ("taken", "count", "chosen"),
    [
        (set(), 0, ()),
        (set(), 2, (5, 6)),  # the socket with the least to spare
        (set(), 3, (1, 2, 3)),
        (set(), 4, (1, 2, 3, 5)),  # no socket has as many
        ({5}, 1, (6,)),
        ({1, 2}, 2, (5, 6)),
        ({1, 2, 3, 5, 6}, 1, None),
        (set(), 6, None),
    ],
)
def test_processors_of_one_socket_come_first(taken: set[int], count: int, chosen: tuple[int, ...] | None) -> None:
    assert choose_processors(TWO_SOCKETS, taken, count) == chosen


def test_a_node_without_numa_gives_what_it_has() -> None:
    assert choose_processors(Inventory(2, 1, 1, dedicated=(1,)), set(), 1) == (1,)

"""What an image says of itself is a tenant's text: it may not stop the node, nor what others have on it."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from krater.agent.runtimes.interfaces import ContainerConfig
from krater.agent.runtimes.oci import bundle
from krater.agent.runtimes.oci.endings import stop_signal
from krater.agent.runtimes.oci.layout import ContainerPaths
from krater.agent.runtimes.oci.state import ContainerRecord, exposed_ports
from krater.agent.runtimes.oci.threads import remove_tree
from krater.model.image import ImageFacts
from krater.model.workload import ContainerSpec, Resources

DEPTH = 1500


def image(**facts: object) -> ImageFacts:
    return ImageFacts("image", "sha256:0", 1, **facts)  # type: ignore[arg-type]


def record(image: ImageFacts) -> ContainerRecord:
    spec = ContainerSpec("id", "name", "image", Resources(1.0, 64))
    return ContainerRecord(ContainerConfig("id", 0, spec, "host", ""), image, "", (), (), ())


def test_ports_that_are_none_are_passed_over() -> None:
    ports = ("80/tcp", "²/tcp", "٣", "9" * 5000, "99999/udp", "0", "-1", "", "443", "80/udp")
    assert exposed_ports(image(exposed_ports=ports)) == (80, 443)


@pytest.mark.parametrize("wanted", ["²", "9" * 5000, "٩", "-1", "SIG", "\0"])
def test_a_stop_signal_that_is_none_means_term(wanted: str) -> None:
    assert stop_signal(record(image(stop_signal=wanted))) == 15


def nested(directory: Path) -> None:
    """Directories in one another, deeper than any path can name: as `mkdir d; cd d` in a loop makes them."""
    directory.mkdir(parents=True)
    here = os.open(directory, os.O_RDONLY)
    for _ in range(DEPTH):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)


def test_files_nested_without_end_are_removed(tmp_path: Path) -> None:
    nested(tmp_path / "containers" / "one" / "upper")
    tree = bundle.discard(ContainerPaths(str(tmp_path / "containers" / "one"), ""))
    assert tree is not None
    remove_tree(tree)
    assert list((tmp_path / "containers").iterdir()) == []


def test_files_nested_without_end_do_not_keep_the_engine_from_opening(tmp_path: Path) -> None:
    nested(tmp_path / f".one.{datetime.now(UTC).timestamp()}" / "upper")
    for tree in bundle.discarded(str(tmp_path)):
        remove_tree(tree)
    assert list(tmp_path.iterdir()) == []

"""What is left of an engine that was taken off the machine."""

from pathlib import Path

import pytest

from tests.support.images import busybox_archive
from tests.support.oci import OciNode, config

pytestmark = pytest.mark.live


def groups_of(parent: str) -> list[Path]:
    return list(Path("/sys/fs/cgroup").glob(f"**/{parent}"))


async def test_not_even_an_empty_control_group(tmp_path: Path) -> None:
    node = OciNode()
    try:
        engine = await node.engine()
        await engine.import_image(busybox_archive(tmp_path / "busybox.tar"))
        wanted = config()
        await engine.create(wanted)
        await engine.start(wanted.id, 1, 0, node.netns)
        assert node.groups()
        await engine.retire()
        assert groups_of(node.cgroup) == []
    finally:
        await node.clear()

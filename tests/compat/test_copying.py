"""Files in and out with the unmodified clients."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.containers import running
from tests.support.server import Server

pytestmark = pytest.mark.live


@pytest.mark.parametrize("client", ["zun", "openstack"])
def test_cp_both_ways(server: Server, tmp_path: Path, client: str) -> None:
    running(server, name="copies")

    def call(*words: str) -> None:
        server.zun("cp", *words) if client == "zun" else server.openstack("appcontainer", "cp", *words)

    _there_and_back(call, tmp_path)


def _there_and_back(call: Callable[..., None], tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/inner.txt").write_text("inner")
    (tmp_path / "single.txt").write_text("single")
    call(str(tmp_path / "single.txt"), "copies:/root")
    call(str(tmp_path / "tree"), "copies:/root")
    call("copies:/root/single.txt", str(tmp_path / "out"))
    call("copies:/root/tree", str(tmp_path / "out"))
    assert (tmp_path / "out/single.txt").read_text() == "single"
    assert (tmp_path / "out/tree/inner.txt").read_text() == "inner"


def test_cp_says_what_is_wrong(server: Server, tmp_path: Path) -> None:
    running(server, name="copies")
    missing = server.zun("cp", "copies:/nothing", str(tmp_path), check=False)
    assert "/nothing" in missing.stdout + missing.stderr
    (tmp_path / "f").write_text("x")
    nowhere = server.zun("cp", str(tmp_path / "f"), "copies:/nowhere", check=False)
    assert "/nowhere" in nowhere.stdout + nowhere.stderr

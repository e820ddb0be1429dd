"""Files in and out with the unmodified clients, and the steps that zun-tempest-plugin takes."""

import base64
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.archives import files, opened
from tests.support.asking import admin_of
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


def test_put_and_get_archive_as_tempest_does(server: Server) -> None:
    """4ea3a2a5-cf89-48e7-bdd2-0bafc70ca7cb, at the microversion of today and at 1.25."""
    box, admin = running(server), admin_of(server)
    made, content = tarfile.TarInfo("test.txt"), b"an archive of the test"
    made.size = len(content)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(made, io.BytesIO(content))
    body = {"data": base64.b64encode(out.getvalue()).decode()}
    for version in ("1.25", "1.40"):
        put = admin.ask("POST", f"/v1/containers/{box}/put_archive?path=/tmp", body, version=version)
        assert put.status == 200
        got = admin.ask("GET", f"/v1/containers/{box}/get_archive?path=/tmp/test.txt", version=version)
        assert got.status == 200
        assert got.json["stat"]["name"] == "test.txt"
        assert got.json["stat"]["size"] == len(content)
        assert opened(base64.b64decode(got.json["data"]))["test.txt"][1] == content


def test_put_and_get_archive_as_text(server: Server) -> None:
    """037d800c-2262-4e15-90cd-95292b5ef958, which the plugin runs below 1.25."""
    box, admin = running(server), admin_of(server)
    body = {"data": files(test="as text").decode()}
    put = admin.ask("POST", f"/v1/containers/{box}/put_archive?path=/tmp", body, version="1.24")
    assert put.status == 200
    got = admin.ask("GET", f"/v1/containers/{box}/get_archive?path=/tmp/test", version="1.24")
    assert opened(got.json["data"].encode())["test"][1] == b"as text"

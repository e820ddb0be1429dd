"""The configuration of an image made of a container, and what it may not be larger than."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from krater.agent.runtimes.oci.images.commit import Changes, check_size, configuration
from krater.agent.runtimes.oci.images.content import Descriptor, ImageConfig, Manifest
from krater.agent.runtimes.oci.images.export import Stored, pieces_of
from krater.errors import Invalid, Permanent
from krater.model.image import is_own, own_name, parse_image, parse_request

AT = datetime(2026, 1, 1, tzinfo=UTC)
BASE: dict[str, Any] = {
    "architecture": "amd64",
    "os": "linux",
    "container": "gone",
    "config": {
        "Env": ["PATH=/bin", "A=1", 7], "Cmd": ["sh"], "User": "ann", "Labels": {"x": "1", "y": "1"},
        "ExposedPorts": {"80/tcp": {}}, "WorkingDir": "/base", "OnBuild": None,
    },
    "rootfs": {"type": "layers", "diff_ids": ["sha256:a"]},
    "history": [{"created_by": "base"}],
}  # fmt: skip


def changes(**more: Any) -> Changes:
    plain: dict[str, Any] = {
        "upper": "/u", "lowers": ("/l",), "entrypoint": ("run",), "command": ("it",), "labels": {"y": "2"},
        "environment": {"A": "2", "B": "3"}, "workdir": None,
    }  # fmt: skip
    return Changes(**(plain | more))


def test_the_ways_of_the_container_lie_over_those_of_its_image() -> None:
    made = configuration(BASE, changes(), "sha256:b", AT)
    assert made["config"] == {
        "Env": ["PATH=/bin", "A=2", "B=3"], "Cmd": ["it"], "Entrypoint": ["run"], "User": "ann",
        "Labels": {"x": "1", "y": "2"}, "ExposedPorts": {"80/tcp": {}}, "WorkingDir": "/base",
    }  # fmt: skip
    assert made["rootfs"]["diff_ids"] == ["sha256:a", "sha256:b"]
    assert [line["created_by"] for line in made["history"]] == ["base", "run it"]
    assert (made["architecture"], made["os"], "container" in made) == ("amd64", "linux", False)
    assert configuration(BASE, changes(workdir="/own"), "sha256:b", AT)["config"]["WorkingDir"] == "/own"


@pytest.mark.parametrize("config", [None, {}, {"Env": "no list", "Labels": []}, {"Env": None, "Labels": None}])
def test_an_image_that_says_little_or_nonsense(config: Any) -> None:
    made = configuration({"config": config, "history": "none"}, changes(), "sha256:b", AT)
    assert made["config"]["Env"] == ["A=2", "B=3"]
    assert made["config"]["Labels"] == {"y": "2"}
    assert msgspec.json.decode(json.dumps(made), type=ImageConfig).rootfs.diff_ids == ("sha256:b",)


def test_sizes_count_every_file_by_its_length(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "sparse").touch()
    os.truncate(tmp_path / "a" / "sparse", 1 << 40)
    os.symlink("/", tmp_path / "root")
    check_size(str(tmp_path), 1 << 40)
    with pytest.raises(Permanent, match="more than an image can take"):
        check_size(str(tmp_path), (1 << 40) - 1)


def test_a_directory_deeper_than_any_path_is_refused(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_DIRECTORY)
    for _ in range(300):
        os.mkdir("d" * 100, dir_fd=here)
        deeper = os.open("d" * 100, os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)
    with pytest.raises(Permanent, match="too deeply"):
        check_size(str(tmp_path), 1 << 30)


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 9_000_000_000])
def test_an_archive_ends_where_tar_expects_it(size: int) -> None:
    layer = Descriptor("application/vnd.oci.image.layer.v1.tar+gzip", "sha256:" + "b" * 64, size)
    manifest = Manifest(Descriptor("", "sha256:" + "c" * 64, 10), (layer, layer))
    stored = Stored(Descriptor("", "sha256:" + "d" * 64, 2), b"{}", manifest)
    parts = pieces_of(stored, "team/app:1")
    assert sum(part.size for part in parts) % 10240 == 0
    assert [part.size for part in parts if part.digest == layer.digest] == ([size] if size else [])


@pytest.mark.parametrize("project", ["kitchen", "8f14e45fceea167a5a36dedd4bea2543", "Not A Name", "a/b", "", "x" * 64])
def test_what_nodes_file_images_under_is_a_name_that_nobody_can_ask_for(project: str) -> None:
    name = own_name(project, "0f3c2f6e-0000-4000-8000-000000000000")
    assert parse_image(name).canonical == name
    assert is_own(name)
    for asked in (name, name.upper().lower(), name.replace("krater.local", "Krater.Local")):
        with pytest.raises(Invalid):
            parse_request(asked)
    assert own_name("kitchen", "1") != own_name("cellar", "1")

"""Image archives for tests, made by `tools/busybox_image.py`."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import cast

_TOOL = Path(__file__).resolve().parents[2] / "tools" / "busybox_image.py"


def _loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("busybox_image", _TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_tool = _loaded()


def busybox_archive(path: Path, name: str = "busybox:latest", form: str = "docker") -> str:
    """Write the busybox image to a file; returns its path as text."""
    _tool.build(path, name, form)
    return str(path)


def busybox_layer() -> bytes:
    """The layer of the busybox image."""
    return cast(bytes, _tool.layer())


def configuration(layers: list[bytes], **config: object) -> bytes:
    """A configuration document for these layers."""
    return cast(bytes, _tool.configuration(layers, **config))


def docker_members(name: str, layers: list[bytes], config: bytes) -> dict[str, bytes]:
    """The files of a docker-save archive."""
    return cast(dict[str, bytes], _tool.docker_members(name, layers, config))


def oci_members(name: str, layers: list[bytes], config: bytes) -> dict[str, bytes]:
    """The files of an OCI layout."""
    return cast(dict[str, bytes], _tool.oci_members(name, layers, config))


def write_archive(path: Path, members: dict[str, bytes], compressed: bool = False) -> str:
    """Write files as an archive; returns its path as text."""
    _tool.write_archive(path, members, compressed)
    return str(path)


def small_layer(files: dict[str, tuple[int, bytes]]) -> bytes:
    """A layer of a few files, by path: mode and content."""
    import io
    import tarfile

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, (mode, content) in files.items():
            _tool._add(archive, name, tarfile.REGTYPE, mode, content)
    return out.getvalue()

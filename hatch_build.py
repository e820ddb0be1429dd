"""Generates the gRPC code of the container image store when Krater is built or installed for development.

`protos/NAME.proto` becomes `pb/NAME_pb2.py` and its companions. protoc is shown the folder under the virtual
path of the `pb` package, so the imports it writes are that package's own and need no rewriting:

    from krater.agent.runtimes.oci.pb import content_pb2 as ...
"""

from importlib import import_module, resources
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = "krater/agent/runtimes/oci/pb"
PROTOS = "src/krater/agent/runtimes/oci/protos"
INIT = '"""Generated from ../protos when Krater is built. Never edited, never committed."""\n'


class GrpcBuildHook(BuildHookInterface[Any]):
    """Runs protoc before files are collected, for wheels and for editable installs alike."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        protos = sorted((root / PROTOS).rglob("*.proto"))
        generate(root, protos)
        if protos:
            build_data["artifacts"].append(f"/src/{PACKAGE}/")


def generate(root: Path, protos: list[Path]) -> None:
    """Makes the generated package match the given files exactly; no files, no package."""
    package = root / "src" / PACKAGE
    wanted = {package / "__init__.py"} if protos else set()
    if protos:
        package.mkdir(exist_ok=True)
        (package / "__init__.py").write_text(INIT)
        _protoc(root, protos)
    for proto in protos:
        stem = package / proto.relative_to(root / PROTOS).with_suffix("")
        wanted |= {stem.with_name(stem.name + end) for end in ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py")}
    for stale in package.rglob("*.py*"):
        if stale.suffix in {".py", ".pyi"} and stale not in wanted:
            stale.unlink()


def _protoc(root: Path, protos: list[Path]) -> None:
    protoc = import_module("grpc_tools.protoc")  # only where there is something to generate
    out = root / "src"
    arguments = [
        "protoc",
        f"--proto_path={PACKAGE}={root / PROTOS}",
        f"--proto_path={resources.files('grpc_tools') / '_proto'}",
        f"--python_out={out}",
        f"--pyi_out={out}",
        f"--grpc_python_out={out}",
        *(f"{PACKAGE}/{proto.relative_to(root / PROTOS).as_posix()}" for proto in protos),
    ]
    if protoc.main(arguments) != 0:
        raise RuntimeError(f"protoc refused a file in {PROTOS}")

"""What images say of themselves."""

import os
from typing import Final

from krater.agent.runtimes.oci.images.content import Descriptor, ImageConfig, Index
from krater.model.image import ImageFacts

_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64", "ppc64le": "ppc64le", "s390x": "s390x"}


def choose_platform(index: Index) -> Descriptor | None:
    """The manifest of an index that is for this machine; a sole manifest that names no platform will do."""
    machine = os.uname().machine
    wanted = _ARCHITECTURES.get(machine, machine)
    for manifest in index.manifests:
        platform = manifest.platform or {}
        if platform.get("architecture") == wanted and platform.get("os", "linux") == "linux":
            return manifest
    plain = [m for m in index.manifests if not m.platform]
    return plain[0] if len(plain) == 1 else None


def facts_of(name: str, digest: str, size: int, config: ImageConfig) -> ImageFacts:
    """The facts an image's configuration tells. What is not of the right shape counts as absent."""
    said = config.config or {}

    def text(key: str) -> str:
        value = said.get(key)
        return value if isinstance(value, str) else ""

    def texts(key: str) -> tuple[str, ...]:
        value = said.get(key)
        return tuple(v for v in value if isinstance(v, str)) if isinstance(value, list | dict) else ()

    labels = said.get("Labels")
    return ImageFacts(
        name=name,
        digest=digest,
        size=size,
        entrypoint=texts("Entrypoint"),
        command=texts("Cmd"),
        environment=texts("Env"),
        workdir=text("WorkingDir"),
        user=text("User"),
        exposed_ports=texts("ExposedPorts"),
        stop_signal=text("StopSignal"),
        labels=tuple((k, str(v)) for k, v in labels.items()) if isinstance(labels, dict) else (),
    )

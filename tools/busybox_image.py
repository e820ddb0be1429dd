#!/usr/bin/env python3
"""Makes a small image archive out of Debian's busybox-static, for tests and demonstrations without a registry.

tools/busybox_image.py OUT.tar [--name busybox:latest] [--format docker|oci]
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path

BUSYBOX = "/bin/busybox"
DIRECTORIES = ("bin", "dev", "etc", "home", "proc", "root", "run", "sys", "tmp", "usr", "usr/bin", "var", "var/www")
FILES = {
    "etc/passwd": (
        "root:x:0:0:root:/root:/bin/sh\n"
        "nobody:x:65534:65534:nobody:/home:/bin/false\n"
        "www:x:33:33:www:/var/www:/bin/sh\n"
    ),
    "etc/group": "root:x:0:\nnogroup:x:65534:\nwww:x:33:\nextra:x:44:www\n",
    "var/www/index.html": "<h1>Hello from Krater</h1>\n",
}
ENVIRONMENT = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]


def layer(busybox: str = BUSYBOX) -> bytes:
    """The only layer: busybox, a link for each of its applets, and a few files. The same bytes every time."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in DIRECTORIES:
            _add(archive, name, tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755)
        _add(archive, "bin/busybox", tarfile.REGTYPE, 0o755, Path(busybox).read_bytes())
        for applet in sorted(_applets(busybox) - {"busybox"}):
            _add(archive, f"bin/{applet}", tarfile.SYMTYPE, 0o777, link="busybox")
        for name, text in FILES.items():
            _add(archive, name, tarfile.REGTYPE, 0o644, text.encode())
    return out.getvalue()


def _applets(busybox: str) -> set[str]:
    listed = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
    return set(listed.stdout.split())


def _add(archive: tarfile.TarFile, name: str, kind: bytes, mode: int, content: bytes = b"", link: str = "") -> None:
    member = tarfile.TarInfo(name)
    member.type, member.mode, member.size, member.linkname = kind, mode, len(content), link
    archive.addfile(member, io.BytesIO(content))


def configuration(layers: list[bytes], **config: object) -> bytes:
    """The configuration document for uncompressed layers; `config` adds to or replaces its `config` part."""
    document = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine),
        "os": "linux",
        "config": {"Cmd": ["sh"], "Env": ENVIRONMENT, **config},
        "rootfs": {"type": "layers", "diff_ids": [digest(one) for one in layers]},
    }
    return json.dumps(document, sort_keys=True).encode()


def digest(content: bytes) -> str:
    """A digest as image documents write it."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def docker_members(name: str, layers: list[bytes], config: bytes) -> dict[str, bytes]:
    """The files of a docker-save archive."""
    hexadecimal = digest(config).removeprefix("sha256:")
    paths = [f"{digest(one).removeprefix('sha256:')}/layer.tar" for one in layers]
    manifest = [{"Config": f"{hexadecimal}.json", "RepoTags": [name], "Layers": paths}]
    members = dict(zip(paths, layers, strict=True))
    return {**members, f"{hexadecimal}.json": config, "manifest.json": json.dumps(manifest).encode()}


def oci_members(name: str, layers: list[bytes], config: bytes) -> dict[str, bytes]:
    """The files of an OCI image layout, its layers compressed."""
    members = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}

    def blob(content: bytes, kind: str) -> dict[str, object]:
        members[f"blobs/{digest(content).replace(':', '/')}"] = content
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": digest(content), "size": len(content)}

    packed = [blob(gzip.compress(one, mtime=0), "layer.v1.tar+gzip") for one in layers]
    manifest = {"schemaVersion": 2, "config": blob(config, "config.v1+json"), "layers": packed}
    target = blob(json.dumps(manifest).encode(), "manifest.v1+json")
    target["annotations"] = {"org.opencontainers.image.ref.name": name}
    members["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [target]}).encode()
    return members


def write_archive(path: str | Path, members: dict[str, bytes], compressed: bool = False) -> None:
    """Write files as a tar archive."""
    with tarfile.open(path, "w:gz" if compressed else "w") as archive:
        for name, content in members.items():
            _add(archive, name, tarfile.REGTYPE, 0o644, content)


def build(path: str | Path, name: str = "busybox:latest", form: str = "docker") -> None:
    """Write the busybox image to `path`."""
    layers = [layer()]
    make = oci_members if form == "oci" else docker_members
    write_archive(path, make(name, layers, configuration(layers)))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Make an image archive out of busybox-static.")
    parser.add_argument("out", help="the archive to write")
    parser.add_argument("--name", default="busybox:latest", help="the image's name (%(default)s)")
    parser.add_argument("--format", choices=("docker", "oci"), default="docker")
    arguments = parser.parse_args()
    build(arguments.out, arguments.name, arguments.format)


if __name__ == "__main__":
    main()

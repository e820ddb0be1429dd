"""Debian's `docker-registry`, of the distribution project: what most registries run, on a port of its own."""

import http.client
import json
import os
import shutil
import socket
import subprocess
import tempfile
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.authority import Certificate
from tests.support.server import eventually, free_port

CONFIGURATION = """version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {directory}}}}}
http: {{addr: "{address}:{port}"{tls}}}
"""
TLS = ", tls: {{certificate: {certificate}, key: {key}}}"
LOGIN = """auth: {{htpasswd: {{realm: test, path: {path}}}}}
"""


@dataclass(frozen=True)
class DebianRegistry:
    """One that listens. `name` is what stands for it in the names of images."""

    name: str
    address: str
    port: int
    certificate: Certificate | None = None
    account: tuple[str, str] | None = None

    @property
    def domain(self) -> str:
        """Its part of an image's name."""
        return f"{self.name}:{self.port}"

    def push(self, name: str, tag: str, members: dict[str, bytes]) -> str:
        """Store the image of an OCI layout; returns its full name."""
        target = json.loads(members["index.json"])["manifests"][0]
        for path, content in members.items():
            digest = path.removeprefix("blobs/").replace("/", ":")
            if path.startswith("blobs/") and digest != target["digest"]:
                place = self._ask("POST", f"/v2/{name}/blobs/uploads/", b"", "", 202)
                parts = urlsplit(place)
                query = f"{parts.query}&digest={digest}"
                self._ask("PUT", f"{parts.path}?{query}", content, "application/octet-stream", 201)
        manifest = members[f"blobs/{target['digest'].replace(':', '/')}"]
        self._ask("PUT", f"/v2/{name}/manifests/{tag}", manifest, target["mediaType"], 201)
        return f"{self.domain}/{name}:{tag}"

    def _ask(self, method: str, path: str, body: bytes, kind: str, expected: int) -> str:
        connection = http.client.HTTPConnection(self.address, self.port, timeout=10)
        if self.certificate is not None:
            trusting = self.certificate.trusting()
            connection = http.client.HTTPSConnection(self.name, self.port, timeout=10, context=trusting)
        headers = {"Content-Type": kind} if kind else {}
        if self.account is not None:
            headers["Authorization"] = f"Basic {b64encode(':'.join(self.account).encode()).decode()}"
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            said = answer.read()
        finally:
            connection.close()
        assert answer.status == expected, f"{method} {path}: {answer.status} {said!r}"
        return answer.headers.get("Location", "")


@contextmanager
def debian_registry(
    name: str = "127.0.0.1", certificate: Certificate | None = None, account: tuple[str, str] | None = None
) -> Iterator[DebianRegistry]:
    """A registry for as long as the block, on the address that `name` stands for; with TLS, and for one user only."""
    made = DebianRegistry(name, socket.gethostbyname(name), free_port(), certificate, account)
    directory = Path(tempfile.mkdtemp(prefix="kr-registry-", dir="/tmp"))
    file = directory / "config.yml"
    tls = "" if certificate is None else TLS.format(certificate=certificate.certificate, key=certificate.key)
    text = CONFIGURATION.format(directory=directory, address=made.address, port=made.port, tls=tls)
    if account is not None:
        users = directory / "htpasswd"
        line = subprocess.run(["htpasswd", "-Bbn", *account], check=True, capture_output=True).stdout
        users.write_bytes(line)
        text += LOGIN.format(path=users)
    file.write_text(text)
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "REGISTRY_"))}
    with (directory / "log").open("wb") as log:
        child = subprocess.Popen(["docker-registry", "serve", str(file)], stdout=log, stderr=log, env=plain)
    try:
        eventually(lambda: _listens(made), what="the registry")
        yield made
    finally:
        child.kill()
        child.wait()
        shutil.rmtree(directory)


def _listens(registry: DebianRegistry) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((registry.address, registry.port)) == 0

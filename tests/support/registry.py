"""A registry of images on the loopback interface: just enough of the distribution protocol to be pulled from."""

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Registry(ThreadingHTTPServer):
    """Serves the images put into it. With an `account` (user, password) it serves nobody else."""

    daemon_threads = True

    def __init__(self, account: tuple[str, str] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.account = account
        self.manifests: dict[str, tuple[str, bytes]] = {}
        self.blobs: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.pause = 0.0  # seconds after every 64 kB, for a pull that takes its time

    @property
    def domain(self) -> str:
        """Its part of an image's name."""
        return f"127.0.0.1:{self.server_port}"

    def put(self, name: str, tag: str, members: dict[str, bytes]) -> str:
        """Offer the image of an OCI layout; returns its full name."""
        index = json.loads(members["index.json"])
        target = index["manifests"][0]
        for path, content in members.items():
            if path.startswith("blobs/"):
                self.blobs[path.removeprefix("blobs/").replace("/", ":")] = content
        manifest = (target["mediaType"], self.blobs[target["digest"]])
        self.manifests[f"{name}/{tag}"] = self.manifests[f"{name}/{target['digest']}"] = manifest
        return f"{self.domain}/{name}:{tag}"


class _Handler(BaseHTTPRequestHandler):
    server: Registry
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        parts = self.path.removeprefix("/v2/").split("/")
        if not self._is_welcome():
            self._answer(401, "application/json", b'{"errors":[{"code":"UNAUTHORIZED"}]}', challenge=True)
        elif self.path == "/v2/":
            self._answer(200, "application/json", b"{}")
        elif len(parts) >= 3 and parts[-2] == "manifests":
            found = self.server.manifests.get(f"{'/'.join(parts[:-2])}/{parts[-1]}")
            self._answer(200, *found) if found else self._answer(404, "application/json", b"{}")
        elif parts[-1] in self.server.blobs:
            self._answer(200, "application/octet-stream", self.server.blobs[parts[-1]])
        else:
            self._answer(404, "application/json", b"{}")

    do_HEAD = do_GET

    def _is_welcome(self) -> bool:
        if self.server.account is None:
            return True
        expected = base64.b64encode(":".join(self.server.account).encode()).decode()
        return self.headers.get("Authorization") == f"Basic {expected}"

    def _answer(self, status: int, kind: str, content: bytes, challenge: bool = False) -> None:
        self.send_response(status)
        if challenge:
            self.send_header("WWW-Authenticate", 'Basic realm="test"')
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Docker-Content-Digest", f"sha256:{hashlib.sha256(content).hexdigest()}")
        self.end_headers()
        if self.command == "GET":
            self._write(content)

    def _write(self, content: bytes) -> None:
        for start in range(0, len(content), 65536):
            self.wfile.write(content[start : start + 65536])
            time.sleep(self.server.pause)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextmanager
def serving_images(account: tuple[str, str] | None = None) -> Iterator[Registry]:
    """A registry that runs for as long as the block."""
    registry = Registry(account)
    thread = threading.Thread(target=registry.serve_forever, daemon=True)
    thread.start()
    try:
        yield registry
    finally:
        registry.shutdown()
        registry.server_close()
        thread.join()

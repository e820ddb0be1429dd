"""The image store and the registry of the fake engine."""

import asyncio
import hashlib
import io
import json
import tarfile
from dataclasses import replace

from krater.agent.runtimes.interfaces import OPERATOR, Asker, ImagePart, Progress, PullProgress
from krater.errors import NotFound, Permanent, Unavailable
from krater.model.assignment import NodeImage, ObservedContainer
from krater.model.image import ImageFacts, belongs_to, is_own, parse_image
from krater.model.registry import Login
from krater.model.workload import PullPolicy

_SIZE = 4 << 20
_PARTS = 4


class FakeImages:
    """`registry` is what can be pulled, `logins` what is needed for some of it.

    `seconds` is how long a pull takes; `is_up` is false when the store is down.
    """

    def __init__(self) -> None:
        self.is_up = True
        self.seconds = 0.0
        self.pulls = 0
        self.registry: dict[str, ImageFacts] = {}
        self.logins: dict[str, Login] = {}
        self._granted: dict[str, set[str]] = {}
        self._store: dict[str, ImageFacts] = {}
        for name, command in (
            ("alpine", ("sh",)),
            ("busybox", ("sh",)),
            ("cirros", ("sleep", "inf")),
            ("nginx", ("nginx",)),
        ):
            facts = _facts(name, command)
            self.registry[facts.name] = facts

    async def ensure(
        self, name: str, policy: PullPolicy, progress: Progress | None, asker: Asker = OPERATOR
    ) -> ImageFacts:
        """Pull it if the policy wants that, or if this project has not shown yet that it may have it."""
        self._require_up()
        present = self.find(name)
        if (
            present is not None
            and (policy is not PullPolicy.ALWAYS or is_own(present.name))
            and self.admits(present.name, asker.project)
        ):
            return present
        if is_own(parse_image(name).canonical):
            raise Permanent("the image is not on its node any more")
        if policy is PullPolicy.NEVER:
            raise Permanent(f"The image {name} is not on this node, and may not be pulled.")
        facts = self.registry.get(parse_image(name).canonical)
        if facts is None:
            raise Permanent(f"There is no image {name} in its registry.")
        wanted, login = self.logins.get(facts.name), await asker.login()
        if wanted is not None and login != wanted:
            raise Permanent(f"The registry does not give out {name}: log in, or check the name.")
        if wanted is not None:
            self._granted.setdefault(facts.name, set()).add(asker.project)
        self.pulls += 1
        for part in range(_PARTS if self.seconds else 0):
            await asyncio.sleep(self.seconds / _PARTS)
            self._require_up()
            if progress is not None:
                progress(PullProgress(_SIZE * (part + 1) // _PARTS, _SIZE))
        self._store[facts.name] = facts
        return facts

    def find(self, name: str) -> ImageFacts | None:
        """What is in the store."""
        return self._store.get(parse_image(name).canonical)

    def admits(self, name: str, project: str) -> bool:
        """Whether containers of the project may be of an image that is here."""
        if is_own(parse_image(name).canonical):
            return belongs_to(name, project)
        return name not in self._granted or project in self._granted[name]

    def list(self) -> list[NodeImage]:
        """All that is in the store."""
        self._require_up()
        return [NodeImage(f.name, f.digest, f.size) for f in self._store.values()]

    def add(self, name: str, command: tuple[str, ...] = ("sleep", "inf")) -> NodeImage:
        """As if imported."""
        facts = _facts(name, command)
        self._store[facts.name] = facts
        return NodeImage(facts.name, facts.digest, facts.size)

    def commit(self, name: str, seen: ObservedContainer, environment: dict[str, str]) -> NodeImage:
        """As if made of a container."""
        self._require_up()
        lines = tuple(f"{key}={value}" for key, value in environment.items())
        facts = replace(_facts(name, seen.command), entrypoint=seen.entrypoint, environment=lines)
        self._store[facts.name] = facts
        return NodeImage(facts.name, facts.digest, facts.size)

    def part(self, name: str, reference: str, offset: int, length: int) -> ImagePart:
        """Of an archive as others make them, of an image that is nothing but its name."""
        facts = self._present(name)
        out = io.BytesIO()
        entry = {"digest": facts.digest, "annotations": {"io.containerd.image.name": parse_image(reference).canonical}}
        with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for path, document in (("oci-layout", {}), ("index.json", {"manifests": [entry]})):
                content = json.dumps(document).encode()
                header = tarfile.TarInfo(path)
                header.size = len(content)
                archive.addfile(header, io.BytesIO(content))
        whole = out.getvalue()
        return ImagePart(whole[offset : offset + length], len(whole))

    def push(self, name: str, reference: str, progress: Progress | None) -> str:
        """Into the registry."""
        facts = self._present(name)
        if progress is not None:
            progress(PullProgress(facts.size, facts.size))
        canonical = parse_image(reference).canonical
        self.registry[canonical] = replace(facts, name=canonical)
        return facts.digest

    def _present(self, name: str) -> ImageFacts:
        self._require_up()
        facts = self.find(name)
        if facts is None:
            raise NotFound("The image is not on its node any more.")
        return facts

    def remove(self, name: str) -> None:
        """Forget it."""
        self._require_up()
        self._store.pop(parse_image(name).canonical, None)

    def _require_up(self) -> None:
        if not self.is_up:
            raise Unavailable("The image store of the node does not answer.")


def _facts(name: str, command: tuple[str, ...]) -> ImageFacts:
    canonical = parse_image(name).canonical
    return ImageFacts(canonical, f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}", _SIZE, command=command)

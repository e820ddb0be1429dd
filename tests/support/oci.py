"""A node with the real engine, in a directory of its own, that leaves nothing behind."""

import asyncio
import glob
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from krater.agent.runtimes.interfaces import ContainerConfig, Engine, Group, Mount
from krater.agent.runtimes.oci import mounts
from krater.agent.runtimes.oci.runtime import OciOptions, OciRuntime
from krater.model.assignment import ContainerState, ObservedContainer
from krater.model.registry import Login, RegistryRules
from krater.model.workload import NOTHING, ContainerSpec, Resources
from tests.support.images import busybox_archive, busybox_layer, configuration, oci_members
from tests.support.registry import serving_images

SLEEP = ("sleep", "1000")
PATIENCE = 30.0


async def until(is_so: Callable[[], object] | Callable[[], Awaitable[object]]) -> None:
    """Wait for something to become true; TimeoutError when it does not."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = is_so()
            if await found if isinstance(found, Awaitable) else found:
                return
            await asyncio.sleep(0.01)


async def until_state(engine: Engine, container: str, state: ContainerState) -> ObservedContainer:
    """Wait for a container to be in a state; returns it as it was seen then."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = await engine.inspect(container)
            if found is not None and found.state is state:
                return found
            await asyncio.sleep(0.01)


def config(
    command: tuple[str, ...] | None = SLEEP,
    *,
    image: str = "busybox",
    rebuild: int = 0,
    cpu: float = 1.0,
    memory: int = 64,
    netns: str = "",
    mounted: tuple[Mount, ...] = (),
    **spec: object,
) -> ContainerConfig:
    """A container of the busybox image."""
    name = str(uuid4())
    wanted = ContainerSpec(name, "test", image, Resources(cpu, memory), command=command, **spec)  # type: ignore[arg-type]
    return ContainerConfig(
        name, rebuild, wanted, "box", netns, ("192.0.2.1",), ("example.test",), (("192.0.2.7", "friend"),), mounted
    )


def group(cpu: float = 0.0, memory: int = 0) -> Group:
    """A new one."""
    return Group(str(uuid4()), cpu, memory)


def member(of: Group, command: tuple[str, ...] = SLEEP, **more: object) -> ContainerConfig:
    """A container of a group, without limits of its own unless they are given."""
    more.setdefault("limits", NOTHING)
    return replace(config(command, **more), group=of)  # type: ignore[arg-type]


class OciNode:
    """One directory, one network namespace, and the engines that were opened on them."""

    def __init__(self, **options: object) -> None:
        # containerd's and conmon's sockets lie below it: short, whatever pytest's own directory is called
        self.directory = Path(tempfile.mkdtemp(prefix="kr-", dir="/tmp"))
        self._name = f"kr-{secrets.token_hex(4)}"
        self.cgroup = f"krater-test-{secrets.token_hex(4)}"
        options.setdefault("registry_rules", RegistryRules(reachable=["127.0.0.0/8"]))  # the tests' own registries
        self._options = OciOptions(cgroup_parent=self.cgroup, **options)  # type: ignore[arg-type]
        self._opened: list[OciRuntime] = []
        subprocess.run(["ip", "netns", "add", self._name], check=True)

    @property
    def netns(self) -> str:
        """The path of its network namespace."""
        return f"/run/netns/{self._name}"

    async def engine(self) -> OciRuntime:
        """An engine on this node; a second one finds what the first one left."""
        made = OciRuntime(self.directory / "e", self._options)
        self._opened.append(made)
        await made.open()
        return made

    async def crashed(self, engine: Engine) -> OciRuntime:
        """Another engine in place of one that is suddenly no more."""
        await engine.close()
        return await self.engine()

    @contextmanager
    def private(self) -> Iterator[tuple[str, Login]]:
        """An image that its registry gives to one login only."""
        with serving_images(("me", "secret")) as registry:
            layers = [busybox_layer()]
            name = registry.put("team/secret", "1", oci_members("secret", layers, configuration(layers)))
            yield name, Login(registry.domain, "me", "secret")

    def containerd_pid(self) -> int:
        """The image store's process."""
        return int((self.directory / "e/containerd/pid").read_text())

    def processes(self) -> list[str]:
        """Command lines of processes that belong to this node, except the image store."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    if str(self.directory) in line and "containerd -c" not in line:
                        found.append(line)
        return found

    def mounts(self) -> list[str]:
        """Mount points below its directory, except the directory itself."""
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        points = (line.split()[4] for line in lines)
        return [p for p in points if p.startswith(f"{self.directory}/") and p != f"{self.directory}/e"]

    def groups(self) -> list[Path]:
        """Control groups of its containers."""
        found = map(Path, glob.glob(f"/sys/fs/cgroup/**/{self.cgroup}/*", recursive=True))
        return [p for p in found if p.is_dir()]

    def left(self) -> list[str]:
        """All that there is of containers and groups of containers, but for logs."""
        files = [
            str(path) for name in ("containers", "groups", "crun") for path in (self.directory / "e" / name).iterdir()
        ]
        return [*self.processes(), *self.mounts(), *map(str, self.groups()), *files]

    async def clear(self) -> None:
        """Remove every container, stop the image store, remove the directory."""
        for opened in self._opened:
            await opened.close()
        await (await self.engine()).retire()
        await asyncio.to_thread(self._remove)

    def forget(self) -> None:
        """Remove what there is of a node whose engine could not be opened."""
        mounts.release_shared(str(self.directory / "e"))
        self._remove()

    def _remove(self) -> None:
        subprocess.run(["ip", "netns", "del", self._name], check=False)
        shutil.rmtree(self.directory, ignore_errors=True)
        for group in glob.glob(f"/sys/fs/cgroup/**/{self.cgroup}", recursive=True):  # others' come and go meanwhile
            with suppress(FileNotFoundError):  # known by another name, and gone by that
                os.rmdir(group)


@asynccontextmanager
async def busybox_node(scratch: Path, **options: object) -> AsyncIterator[OciNode]:
    """A node that has a `busybox` image; cleared afterwards."""
    made = OciNode(**options)
    try:
        await (await made.engine()).import_image(busybox_archive(scratch / "busybox.tar"))
        yield made
    finally:
        await made.clear()

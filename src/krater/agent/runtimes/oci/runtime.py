"""The default engine: conmon and crun on containerd's image store.

The way of a start: create() makes directories and a record; start() mounts an overlay of the image's shared layers and
the container's own directory, writes the OCI document and lets conmon have crun create the container; a byte into a
pipe lets it run. From then on nothing of ours is in the container's way: conmon writes its log and its exit code, and
whoever opens this engine next reads all there is to know from the disk and the kernel.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from krater.agent.runtimes.interfaces import (
    OPERATOR,
    ArchiveReader,
    ArchiveWriter,
    Asker,
    ContainerConfig,
    EngineFacts,
    ExecResult,
    ImagePart,
    ProcessTable,
    Progress,
    PushTarget,
    Stream,
)
from krater.agent.runtimes.oci import attaching, bundle, executing, logs, mounts, seccomp, spec
from krater.agent.runtimes.oci.archives import JailKeeper
from krater.agent.runtimes.oci.cgroups import detect
from krater.agent.runtimes.oci.commits import Commits
from krater.agent.runtimes.oci.conmon import Conmon
from krater.agent.runtimes.oci.console import LiveConsole
from krater.agent.runtimes.oci.containerd import Containerd
from krater.agent.runtimes.oci.gate.gate import Gate
from krater.agent.runtimes.oci.groups import Groups
from krater.agent.runtimes.oci.host import host_facts
from krater.agent.runtimes.oci.images.grants import Grants
from krater.agent.runtimes.oci.images.registry import Registries
from krater.agent.runtimes.oci.images.store import ImageStore
from krater.agent.runtimes.oci.images.transfers import Transfers
from krater.agent.runtimes.oci.launcher import Launcher
from krater.agent.runtimes.oci.layout import Layout
from krater.agent.runtimes.oci.lifecycle import Lifecycle, Machinery
from krater.agent.runtimes.oci.probe import working_program
from krater.agent.runtimes.oci.processes import boot_id
from krater.agent.runtimes.oci.registries import Trust
from krater.agent.runtimes.oci.state import ContainerRecord, ProcessRecord, Shelf, observe
from krater.agent.runtimes.oci.threads import Threads
from krater.errors import Failed, Permanent, Temporary, Unavailable
from krater.model.assignment import NodeImage, ObservedContainer
from krater.model.image import ImageFacts
from krater.model.reading import Reading
from krater.model.registry import RegistryRules
from krater.model.workload import PullPolicy

LOG_LIMIT: Final = 256 * 1024 * 1024

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class OciOptions:
    """What an operator may choose. `containerd_socket` names an existing image store instead of one of our own."""

    runtime: str | None = None
    conmon: str = "conmon"
    containerd: str = "containerd"
    containerd_socket: str | None = None
    cgroup_parent: str = "krater"
    pids_limit: int = 4096
    log_limit: int = LOG_LIMIT
    log_files: int = 3
    plain_http_registries: tuple[str, ...] = ()
    registry_rules: RegistryRules = field(default_factory=RegistryRules)
    ca_file: str = ""
    certificates: str = ""
    seccomp_profile: str = seccomp.PROFILE


class OciRuntime:
    """Implements `Runtime` and `Console`. All it keeps is below `directory`."""

    def __init__(self, directory: str | Path, options: OciOptions | None = None) -> None:
        self._layout = Layout.at(directory)
        chosen = self._options = options or OciOptions()
        self._shelf = Shelf()
        self._daemon: Containerd | None = None
        self._gate: Gate | None = None
        grants, rules = Grants(self._layout.grants), chosen.registry_rules
        self._trust = Trust(chosen.plain_http_registries, chosen.ca_file, chosen.certificates)
        if chosen.containerd_socket is None:
            self._daemon = Containerd(self._layout.containerd, chosen.containerd, self._trust)
            self._gate = Gate(rules, partial(getattr, self._daemon, "pid"))
            self._images = ImageStore(self._daemon.socket, Registries(grants, rules, self._gate.opened))
        else:
            self._images = ImageStore(chosen.containerd_socket, Registries(grants, rules))
        self._opened: _Opened | None = None

    async def open(self) -> None:
        """Find what runs, start what must run beside us. A dead image store does not keep containers from us."""
        if self._opened is not None:
            return
        self._opened = await asyncio.to_thread(_prepare_host, self._layout, self._options, self._shelf, self._images)
        if self._daemon is not None:
            try:
                await self._daemon.open()
            except Unavailable as error:
                log.error(error.message)
            except OSError as error:
                await self.close()
                raise Permanent(f"the image store (containerd) cannot be started: {error.strerror}") from error

    @property
    def _with(self) -> "_Opened":
        if self._opened is None:
            raise Temporary("the engine is not open")
        return self._opened

    def _ids(self) -> list[str]:
        return [e.name for e in os.scandir(self._layout.containers) if not e.name.startswith(".")]

    async def close(self) -> None:
        """Let go. Containers, their monitors and the image store go on."""
        opened, self._opened = self._opened, None
        if opened is None:
            return
        await opened.jails.close()
        await opened.lifecycle.close()
        opened.beginnings.close()
        if self._daemon is not None and self._gate is not None:
            self._gate.close()
            await self._daemon.close()
        await self._images.close()
        opened.machinery.launcher.close()
        opened.machinery.conmon.close()
        opened.threads.close()

    async def retire(self) -> None:
        """Take the engine off this machine: remove every container, and end what was started beside us.

        The directory stays, with images and logs in it; `open` would bring all but the containers back.
        """
        for container in await self.list():
            await self.remove(container)
        with suppress(Failed):  # somebody else's processes in our group are no reason to stay
            await self._with.threads.run(self._with.machinery.cgroups.remove, "")
        await self.close()
        if self._daemon is not None:
            await asyncio.to_thread(self._daemon.end)
        await asyncio.to_thread(mounts.release_shared, self._layout.root)

    async def describe(self) -> EngineFacts:
        """Never fails: what does not answer is down."""
        program = self._with.machinery.program
        try:
            await self._images.version()
            up = True
        except Failed:
            up = False
        return EngineFacts("oci", program.version, (program.name,), up, self._with.machinery.cgroups.kind)

    async def list(self) -> dict[str, ObservedContainer]:
        """Read from files and the kernel only."""
        return await self._with.threads.run(self._list)

    def _list(self) -> dict[str, ObservedContainer]:
        seen = {container: self._look(container) for container in self._ids()}
        return {container: one for container, one in seen.items() if one is not None}

    def _look(self, container: str) -> ObservedContainer | None:
        use, paths = self._with.machinery, self._layout.container(container)
        record = self._shelf.read(paths.record, ContainerRecord)
        if record is None:
            return None
        last = self._shelf.read(paths.process, ProcessRecord)
        held = self._with.lifecycle.is_stilled(container)
        name, ask = record.cgroup, use.cgroups
        return observe(
            record, last, paths, use.boot, lambda: ask.frozen(name) and not held, lambda: ask.oom_kills(name)
        )

    async def inspect(self, container: str) -> ObservedContainer | None:
        """One of them."""
        return await self._with.threads.run(self._look, container)

    async def ensure_image(
        self, name: str, policy: PullPolicy, progress: Progress | None = None, asker: Asker = OPERATOR
    ) -> ImageFacts:
        """Have an image unpacked."""
        return (await self._images.ensure(name, policy, progress, asker)).facts

    async def images(self) -> Sequence[NodeImage]:
        """The images in the store."""
        return await self._images.images()

    async def import_image(self, path: str, name: str | None = None) -> Sequence[NodeImage]:
        """Take an archive's images into the store."""
        return await self._images.import_archive(path, name)

    async def commit(self, container: str, name: str, limit: int) -> NodeImage:
        """Make an image of a container."""
        return await self._with.commits.commit(container, name, limit)

    async def read_image(self, name: str, reference: str, offset: int, length: int) -> ImagePart:
        """A piece of an image's archive."""
        return await Transfers(self._images).read(name, reference, offset, length)

    async def push_image(self, name: str, target: PushTarget, progress: Progress | None = None) -> str:
        """Upload an image. Plain HTTP is spoken where the operator allows it, as for pulls."""
        return await Transfers(self._images).push(name, target, self._options.registry_rules, self._trust, progress)

    async def remove_image(self, name: str) -> None:
        """Forget an image."""
        await self._images.remove(name, await self._with.threads.run(self._chains))

    def _chains(self) -> set[str]:
        records = (self._shelf.read(self._layout.container(c).record, ContainerRecord) for c in self._ids())
        return {record.chain for record in records if record is not None}

    async def create(self, config: ContainerConfig) -> None:
        """Make a container of an image that is here."""
        spec.check(config.spec, config.group)
        if self._with.lifecycle.is_made(config):
            return
        name = config.spec.node_image
        image = await self._images.ready(name)
        if not self._images.admits(name, image, config.project):  # the name became another's meanwhile
            raise Temporary(f"the registry is to be asked for the image {config.spec.image!r} again")
        await self._with.lifecycle.create(config, image)
        if not self._images.remembers(image.chain):  # removed in this very moment, and its layers perhaps with it
            await self.remove(config.id)
            raise Temporary(f"the image {config.spec.image!r} is not on the node any more")

    async def start(self, container: str, run: int, attempt: int, netns: str) -> None:
        """Run its process."""
        await self._with.lifecycle.start(container, run, attempt, netns)

    async def stop(self, container: str, grace: float, reason: str | None = None) -> None:
        """Ask its process to end, then make it."""
        await self._with.lifecycle.stop(container, grace, reason)

    async def pause(self, container: str) -> None:
        """Freeze all its processes."""
        await self._with.lifecycle.freeze(container, True)

    async def resume(self, container: str) -> None:
        """Thaw them."""
        await self._with.lifecycle.freeze(container, False)

    async def update(self, container: str, cpu: float, memory: int) -> None:
        """Set new limits."""
        await self._with.lifecycle.update(container, cpu, memory)

    async def tell_names(
        self, container: str, nameservers: tuple[str, ...], hosts: tuple[tuple[str, str], ...]
    ) -> None:
        """Have these in resolv.conf and /etc/hosts."""
        await self._with.lifecycle.tell_names(container, nameservers, hosts)

    async def remove(self, container: str) -> None:
        """Leave nothing of it but its log."""
        await self._with.jails.end(container)
        chain = await self._with.lifecycle.remove(container)
        await self._with.jails.end(container)  # one that was just being started
        self._with.console.forget(container)
        if chain is not None and not self._images.remembers(chain):
            chains = await self._with.threads.run(self._chains)
            if chain not in chains:
                try:
                    await self._images.drop_unused(chains)
                except Failed as error:
                    log.warning("layers kept that nobody uses", chain=chain, error=error.message)

    def events(self) -> AsyncIterator[str]:
        """Ids of containers as they change. Who listens also sees to containers that were started before its time.

        So an agent does, and a command line that opens the same engine for a moment does not interfere.
        """
        watch, boot = self._with.lifecycle.watch, self._with.machinery.boot
        changes = watch.listen()
        for container in self._ids():
            last = self._shelf.read(self._layout.container(container).process, ProcessRecord)
            if last is not None and last.process is not None and last.boot == boot and not watch.follows(container):
                watch.follow(container, last.monitor, last.process)
        return changes

    async def signal(self, container: str, number: int) -> None:
        """Send a signal to its first process."""
        await self._with.console.signal(container, number)

    async def exec(self, container: str, command: tuple[str, ...], timeout: float, limit: int) -> ExecResult:
        """Run a command in it."""
        return await self._with.console.exec(container, command, timeout, limit)

    async def attach(self, container: str) -> Stream:
        """The streams of its first process."""
        found = self._with.console.running(container)
        wanted = found.record.config.spec
        to = attaching.Attached(found.paths, found.process, found.monitor, wanted.tty, wanted.interactive)
        return await attaching.attach(container, to, self._with.beginnings)

    async def start_exec(
        self, container: str, command: tuple[str, ...], tty: bool, size: tuple[int, int] | None = None
    ) -> Stream:
        """Run a command in it, to talk to."""
        return await self._with.executions.start(container, command, tty, size)

    async def resize_terminal(self, container: str, rows: int, columns: int) -> None:
        """Another size of its first process's terminal."""
        found = self._with.console.running(container)
        if found.record.config.spec.tty:
            attaching.resize(found.paths, rows, columns)

    async def top(self, container: str, ps_args: str) -> ProcessTable:
        """Its processes."""
        return await self._with.console.top(container, ps_args)

    async def stats(self, container: str) -> Reading:
        """Its use of resources."""
        return await self._with.console.stats(container)

    async def pack(self, container: str, path: str, limit: int) -> ArchiveReader:
        """Begin to pack what is at a path of its files."""
        async with self._with.lifecycle.files(container) as place:
            return await self._with.jails.pack(container, place, path, limit)

    async def unpack(self, container: str, path: str, limit: int) -> ArchiveWriter:
        """Begin to unpack into a directory of its files."""
        async with self._with.lifecycle.files(container) as place:
            return await self._with.jails.unpack(container, place, path, limit)

    def log_path(self, container: str) -> str:
        """Where its log is; outlives the container."""
        return self._layout.container(container).log

    async def tend_log(self, container: str, largest: int) -> None:
        """Rotate a log that is too large."""
        await self._with.threads.run(logs.tend, self._layout.container(container), largest, self._options.log_files)


@dataclass(frozen=True, slots=True)
class _Opened:
    """What exists only while the engine is open."""

    threads: Threads
    machinery: Machinery
    lifecycle: Lifecycle
    console: LiveConsole
    jails: JailKeeper
    executions: executing.Executions
    beginnings: attaching.Beginnings
    commits: Commits


def _prepare_host(layout: Layout, options: OciOptions, shelf: Shelf, images: ImageStore) -> _Opened:
    if os.geteuid() != 0:
        raise Permanent("the engine needs to run as root: it mounts file systems and makes namespaces")
    for directory in (layout.containers, layout.groups, layout.logs, layout.runtime_state, layout.containerd):
        os.makedirs(directory, mode=0o700, exist_ok=True)
    mounts.ensure_shared(layout.root)
    trees = bundle.discarded(layout.containers)
    cgroups = detect(options.cgroup_parent)
    launcher = Launcher()
    try:
        program = working_program(options.runtime, layout.runtime_state, launcher, options.cgroup_parent)
    except Failed:
        launcher.close()
        raise
    threads = Threads()
    machinery = Machinery(
        layout=layout,
        shelf=shelf,
        cgroups=cgroups,
        groups=Groups(layout, shelf, cgroups),
        program=program,
        conmon=Conmon(launcher, program, options.conmon, options.log_limit),
        launcher=launcher,
        host=host_facts(cgroups.limits_swap, options.cgroup_parent, options.pids_limit),
        seccomp=seccomp.load(program.takes_compiled_filter, options.seccomp_profile),
        boot=boot_id(),
        threads=threads,
        log_files=options.log_files,
    )
    threads.remove_later(trees)
    executing.sweep(layout, shelf, cgroups)
    machinery.groups.sweep()
    console, beginnings = LiveConsole(machinery), attaching.Beginnings()
    lifecycle, jails = Lifecycle(machinery, beginnings.keep), JailKeeper(launcher)
    executions = executing.Executions(machinery, console)
    commits = Commits(lifecycle, images, threads, jails.unpacks_into)
    return _Opened(threads, machinery, lifecycle, console, jails, executions, beginnings, commits)

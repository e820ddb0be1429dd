"""Containers from creation to removal. One step at a time for each container; state is on disk and in the kernel."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final
from weakref import WeakValueDictionary

import structlog

from krater.agent.runtimes.interfaces import ContainerConfig
from krater.agent.runtimes.oci import bundle, failures, logs, spec, takeoff
from krater.agent.runtimes.oci.archives import Place
from krater.agent.runtimes.oci.cgroups import Cgroups
from krater.agent.runtimes.oci.conmon import Conmon, CreateFailed, Monitored
from krater.agent.runtimes.oci.crun import OciProgram
from krater.agent.runtimes.oci.endings import Endings, written
from krater.agent.runtimes.oci.groups import Groups
from krater.agent.runtimes.oci.images.store import ReadyImage
from krater.agent.runtimes.oci.launcher import Launcher
from krater.agent.runtimes.oci.layout import ContainerPaths, Layout
from krater.agent.runtimes.oci.mounts import unmount_rootfs
from krater.agent.runtimes.oci.programs import started
from krater.agent.runtimes.oci.seccomp import Filter
from krater.agent.runtimes.oci.state import ContainerRecord, ProcessRecord, Shelf, note_out_of_memory, read_ending
from krater.agent.runtimes.oci.threads import Threads
from krater.agent.runtimes.oci.watch import Watch
from krater.errors import Conflict, NotFound, Permanent, Temporary

SAID_LIMIT: Final = 16_384

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Machinery:
    """What the steps are done with."""

    layout: Layout
    shelf: Shelf
    cgroups: Cgroups
    groups: Groups
    program: OciProgram
    conmon: Conmon
    launcher: Launcher
    host: spec.HostFacts
    seccomp: Filter
    boot: str
    threads: Threads
    log_files: int


class Lifecycle:
    """The steps a container goes through."""

    def __init__(
        self, machinery: Machinery, keep_beginning: Callable[[str, ContainerPaths], None] = lambda *_: None
    ) -> None:
        """`keep_beginning` is told of containers that take input, before they run: what they say first is awaited."""
        self._with = machinery
        self._keep_beginning = keep_beginning
        self._endings = Endings(machinery.threads, machinery.cgroups, machinery.shelf)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._stilled: dict[str, asyncio.Future[Any]] = {}
        self._frozen: set[str] = set()
        self.watch = Watch(self._settle)

    @asynccontextmanager
    async def _alone(self, container: str) -> AsyncIterator[ContainerPaths]:
        async with self._locks.setdefault(container, asyncio.Lock()):
            yield self._with.layout.container(container)

    def _records(self, paths: ContainerPaths) -> tuple[ContainerRecord | None, ProcessRecord | None]:
        shelf = self._with.shelf
        return shelf.read(paths.record, ContainerRecord), shelf.read(paths.process, ProcessRecord)

    def record_of(self, container: str) -> ContainerRecord:
        """What a container was made of. NotFound."""
        record, _ = self._records(self._with.layout.container(container))
        if record is None:
            raise NotFound(f"there is no container {container} on this node")
        return record

    def is_stilled(self, container: str) -> bool:
        """Whether its processes wait only because we look at what they wrote."""
        return container in self._frozen

    @asynccontextmanager
    async def still(self, container: str, work: "asyncio.Future[Any]") -> AsyncIterator[ContainerPaths]:
        """Inside, nothing of a container changes; afterwards one that ran goes on, whatever happened.

        Should we die meanwhile, the planner finds it paused and resumes it. `work` is what to give up for whoever
        wants it stopped or removed. Neither end is left half done by a second change of mind.
        """
        async with self._alone(container) as paths:
            self._stilled[container] = work
            holding = asyncio.ensure_future(self._hold(container, paths))
            try:
                await asyncio.shield(holding)
                yield paths
            finally:
                await asyncio.shield(asyncio.ensure_future(self._let_go(container, holding)))

    async def _hold(self, container: str, paths: ContainerPaths) -> str | None:
        """Freeze what runs; the name of what was frozen, if there was anything to freeze."""
        use, (record, last) = self._with, self._records(paths)
        runs = last is not None and last.process is not None and last.boot == use.boot and last.process.alive
        if record is None or not runs or await use.threads.run(use.cgroups.frozen, record.cgroup):
            return None
        self._frozen.add(container)
        await use.threads.run(use.cgroups.freeze, record.cgroup, True)
        return record.cgroup

    async def _let_go(self, container: str, holding: "asyncio.Future[str | None]") -> None:
        try:
            held = await holding
            if held is not None:
                await self._with.threads.run(self._with.cgroups.freeze, held, False)
        except Temporary as error:  # it may have been killed meanwhile
            log.info("a container could not be held still, or not let go", container=container, reason=error.message)
        finally:
            self._frozen.discard(container)
            self._stilled.pop(container, None)

    def _interrupt(self, container: str) -> None:
        if container in self._stilled:
            self._stilled[container].cancel()

    def is_made(self, config: ContainerConfig) -> bool:
        """Whether the container is there already. Conflict when it is there with another root filesystem."""
        known, _ = self._records(self._with.layout.container(config.id))
        if known is not None and known.config.rebuild != config.rebuild:
            raise Conflict("the container of another rebuild must be removed first")
        return known is not None

    async def create(self, config: ContainerConfig, image: ReadyImage) -> None:
        """Make the container's directories, then its record: with that it exists."""
        entrypoint, command = spec.effective_command(config.spec, image.facts)
        async with self._alone(config.id) as paths:
            if self.is_made(config):
                return
            record = ContainerRecord(config, image.facts, image.chain, image.lowers, command, entrypoint)
            await self._with.threads.run(self._make, paths, record)

    def _make(self, paths: ContainerPaths, record: ContainerRecord) -> None:
        bundle.make(paths, record.lowers)
        self._with.shelf.write(paths.record, record)

    async def start(self, container: str, run: int, attempt: int, netns: str) -> None:
        """Run the process. What comes of it is on disk before this returns or raises."""
        async with self._alone(container) as paths:
            record, last = self._records(paths)
            if record is None:
                raise NotFound(f"there is no container {container} on this node")
            if last is not None and (last.run, last.attempt, last.boot) == (run, attempt, self._with.boot):
                if last.error is not None:
                    raise Permanent(last.error)
                if last.process is not None:
                    return
            if last is not None and last.process is not None and last.process.alive:
                raise Conflict("the container runs: it must be stopped before it is started again")
            self.watch.leave(container)
            pending = ProcessRecord(run, attempt, self._with.boot)
            try:
                with _held_open(netns) as held:
                    await self._with.threads.run(self._prepare, record, last, paths, pending, held)
                    wanted = record.config.spec
                    await self._with.launcher.ensure_sees([mount.source for mount in record.config.mounts])
                    made = await self._with.conmon.create(container, paths, wanted.interactive, wanted.tty)
                if wanted.interactive:
                    self._keep_beginning(container, paths)
                await self._launch(record, paths, pending, made)
            except (CreateFailed, Permanent) as error:
                text = await self._with.threads.run(self._failed, record, paths, pending, error)
                raise Permanent(text) from error
            self.watch.follow(container, made.monitor, made.process)

    def _prepare(
        self,
        record: ContainerRecord,
        last: ProcessRecord | None,
        paths: ContainerPaths,
        pending: ProcessRecord,
        netns: str,
    ) -> None:
        use = self._with
        if last is not None:
            bundle.clear(record.config.id, record.cgroup, last, paths, use.cgroups, use.program)
        use.shelf.write(paths.process, pending)
        group = record.config.group
        shared = None if group is None else use.groups.ensure(group.id)
        bundle.write(record, paths, use.host, use.seccomp, netns, shared)
        logs.begin(paths, use.log_files)

    async def _launch(
        self, record: ContainerRecord, paths: ContainerPaths, pending: ProcessRecord, made: Monitored
    ) -> None:
        """Let the created process run its program. CreateFailed when it could not."""
        container, group = record.config.id, record.config.group
        if group is not None:
            await self._with.threads.run(self._with.groups.limit, group)
        before = takeoff.program_of(made.process)
        if not self._with.program.release(container):
            asked = await started(self._with.launcher, self._with.program.start_arguments(container), SAID_LIMIT)
            if await asked.wait() != 0:
                raise CreateFailed(asked.output.decode(errors="replace"))
        await self._with.threads.run(self._launched, paths, pending, made, before)
        if not made.process.alive:
            await written(made.monitor)
            why = await self._with.threads.run(takeoff.complaint, paths)
            if why is not None:
                raise CreateFailed(why)

    def _launched(self, paths: ContainerPaths, pending: ProcessRecord, made: Monitored, before: str) -> None:
        at = datetime.now(UTC)
        takeoff.wait_for_program(made.process, before)
        # written only now: until then a crash of ours means that the start is done again
        record = replace(pending, process=made.process, monitor=made.monitor, started_at=at)
        self._with.shelf.write(paths.process, record)

    def _failed(self, record: ContainerRecord, paths: ContainerPaths, pending: ProcessRecord, error: Exception) -> str:
        use = self._with
        where = spec.workdir(record.config.spec, record.image)
        program = (*record.entrypoint, *record.command)[0]
        if isinstance(error, Permanent):
            why = failures.Explanation(error.message)
        else:
            why = failures.explain(str(error), program, where)
        ended_now = replace(pending, error=why.text, exit_code=why.exit_code, finished_at=datetime.now(UTC))
        use.shelf.write(paths.process, ended_now)
        use.cgroups.kill(record.cgroup)
        use.cgroups.remove(record.cgroup)
        use.program.forget(record.config.id)
        return why.text

    async def stop(self, container: str, grace: float, reason: str | None = None) -> None:
        """Ask it to end, wait, then kill. Afterwards its exit code is on disk, and the reason from the beginning.

        One that was asked before is not asked again, and its time goes on.
        """
        self._interrupt(container)
        async with self._alone(container) as paths:
            record, last = self._records(paths)
            if record is None or last is None or last.process is None or last.boot != self._with.boot:
                return
            process = last.process
            if process.alive:
                if reason is not None and last.cut_off is None:
                    last = replace(last, cut_off=reason)
                    await self._with.threads.run(self._with.shelf.write, paths.process, last)
                await self._endings.end(record, last, process, paths, grace)
            await written(last.monitor)
            await self._with.threads.run(self._tidy, record, paths)

    def _tidy(self, record: ContainerRecord, paths: ContainerPaths) -> None:
        """Keep nothing of a process that ended but what it left in writing."""
        use = self._with
        if use.cgroups.oom_kills(record.cgroup):
            note_out_of_memory(paths)
        use.cgroups.kill(record.cgroup)
        use.cgroups.remove(record.cgroup)
        use.program.forget(record.config.id)

    async def _settle(self, container: str) -> None:
        """Tidy up after a container that ended by itself."""
        async with self._alone(container) as paths:
            record, last = self._records(paths)
            if record is None or last is None or last.process is None or last.process.alive:
                return
            await written(last.monitor)
            await self._with.threads.run(self._tidy, record, paths)
            if read_ending(paths) is None and last.finished_at is None:  # nobody else will tell when it was
                ended_now = replace(last, finished_at=datetime.now(UTC))
                await self._with.threads.run(self._with.shelf.write, paths.process, ended_now)

    @asynccontextmanager
    async def files(self, container: str) -> AsyncIterator[Place]:
        """Where its files are now. While this is entered, it is neither started nor stopped nor removed.

        Conflict while an image is made of it: nothing of it may change then, and that may take long.
        """
        if container in self._stilled:
            raise Conflict("an image is just being made of the container; try again when it is done")
        async with self._alone(container) as paths:
            record, last = self._records(paths)
            if record is None:
                raise NotFound(f"there is no container {container} on this node")
            mounts = tuple((m.source, m.destination, m.read_only) for m in spec.binds(record.config.mounts, paths))
            process = last.process if last is not None and last.boot == self._with.boot else None
            if process is not None and process.alive:
                yield Place(process, paths.rootfs)
            else:  # the same mount that a start will find: the kernel allows no two of the same directories
                await self._with.threads.run(bundle.furnish, record, paths)
                yield Place(None, paths.rootfs, mounts)

    async def remove(self, container: str) -> str | None:
        """Leave nothing but the log. Returns the chain of layers it used, if it was there."""
        self._interrupt(container)
        async with self._alone(container) as paths:
            self.watch.leave(container)
            record, last = self._records(paths)
            tree = await self._with.threads.run(self._remove, container, paths, record, last)
            if tree is not None:
                await self._with.threads.remove(tree)
        return record.chain if record is not None else None

    def _remove(
        self, container: str, paths: ContainerPaths, record: ContainerRecord | None, last: ProcessRecord | None
    ) -> str | None:
        use = self._with
        cgroup = record.cgroup if record is not None else use.cgroups.find(container)
        bundle.clear(container, cgroup, last, paths, use.cgroups, use.program)
        unmount_rootfs(paths)
        group = cgroup.rpartition("/")[0]
        with use.groups.left_by(container, group) if group else nullcontext():
            tree = bundle.discard(paths)
        bundle.date_log(paths)
        use.shelf.forget(paths.record, paths.process)
        return tree

    async def freeze(self, container: str, frozen: bool) -> None:
        """Pause or resume. A resumed one may have been running already, asked to end or not: it is to go on now."""
        async with self._alone(container) as paths:
            record, last = self._records(paths)
            if record is None or last is None or last.process is None or not last.process.alive:
                raise Conflict("the container does not run")
            await self._endings.spare(last, paths)
            await self._with.threads.run(self._with.cgroups.freeze, record.cgroup, frozen)

    async def update(self, container: str, cpu: float, memory: int) -> None:
        """New limits, for the running process and for those to come."""
        async with self._alone(container) as paths:
            record, last = self._records(paths)
            if record is None:
                raise NotFound(f"there is no container {container} on this node")
            wanted = spec.limited(record.config.spec, cpu, memory)
            spec.check(wanted)
            changed = replace(record, config=replace(record.config, spec=wanted))
            if last is not None and last.process is not None and last.process.alive:
                quota, share = spec.cpu_limit(record.config, cpu), wanted.resources.cpu
                await self._with.threads.run(self._with.cgroups.limit, record.cgroup, quota, memory, share)
            await self._with.threads.run(self._with.shelf.write, paths.record, changed)

    async def tell_names(
        self, container: str, nameservers: tuple[str, ...], hosts: tuple[tuple[str, str], ...]
    ) -> None:
        """Other lines for /etc/hosts and resolv.conf; a process that runs sees them in the files it has."""
        async with self._alone(container) as paths:
            record, last = self._records(paths)
            if record is None or (record.config.nameservers, record.config.hosts) == (nameservers, hosts):
                return
            changed = replace(record, config=replace(record.config, nameservers=nameservers, hosts=hosts))
            if last is not None:  # else there are no files yet: its first start writes them
                await self._with.threads.run(bundle.write_names, changed.config, paths)
            await self._with.threads.run(self._with.shelf.write, paths.record, changed)

    async def close(self) -> None:
        """Let go of what watches. Containers go on."""
        await self.watch.close()


@contextmanager
def _held_open(path: str) -> Iterator[str]:
    """A network namespace by a path that holds in every mount namespace: a descriptor of ours, open meanwhile."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Temporary("the container's network namespace is not there") from None
    try:
        if os.fstat(descriptor).st_dev != os.stat("/proc/self/ns/net").st_dev:  # the file that it was mounted on
            raise Temporary("the container's network namespace is not there")
        yield f"/proc/{os.getpid()}/fd/{descriptor}"
    finally:
        os.close(descriptor)

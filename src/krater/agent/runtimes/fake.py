"""An engine in memory: for development, demonstrations and tests. It ships with Krater.

All state lives in a `FakeEngineWorld`, as containers live in a kernel: a `FakeRuntime` may be thrown away at any
moment, as by a crash, and another one finds the same containers. `hook` is called around every effect, and may raise.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from krater.agent.runtimes.fake_files import FakePacked, FakeUnpacked
from krater.agent.runtimes.fake_programs import ENDED, KILLED, program_of
from krater.agent.runtimes.fake_streams import FakeProcess, FakeStream, executed
from krater.agent.runtimes.fake_world import ALIVE, FakeContainer, FakeEngineWorld, Hook, new_container, no_hook
from krater.agent.runtimes.interfaces import (
    OPERATOR,
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
from krater.clock import Now, utc_now
from krater.errors import Conflict, Invalid, NotFound, Permanent, Temporary
from krater.model.assignment import ContainerState, NodeImage, ObservedContainer
from krater.model.image import ImageFacts
from krater.model.reading import Reading
from krater.model.workload import PullPolicy

__all__ = ["FakeContainer", "FakeEngineWorld", "FakeRuntime", "Hook", "no_hook"]

_TERM, _KILL = 15, 9


class FakeRuntime:
    """Both Runtime and Console over a world."""

    def __init__(self, world: FakeEngineWorld | None = None, now: Now = utc_now, hook: Hook = no_hook) -> None:
        self.world = world if world is not None else FakeEngineWorld()
        self._now = now
        self._hook = hook
        self._stilled: set[str] = set()

    async def open(self) -> None:
        """Clean up what a crash left half made."""
        await self._effect("open", "")
        for name in [name for name, c in self.world.containers.items() if not c.is_whole]:
            del self.world.containers[name]
        self.world.sweep_groups()

    async def close(self) -> None:
        """Nothing to let go of."""

    async def describe(self) -> EngineFacts:
        """A version of its own."""
        return EngineFacts("fake", "1", ("fake",), self.world.images.is_up, "none")

    async def list(self) -> dict[str, ObservedContainer]:
        """What is whole."""
        await self._effect("list", "")
        return {name: self._shown(c) for name, c in self.world.containers.items() if c.is_whole}

    async def inspect(self, container: str) -> ObservedContainer | None:
        """One of them."""
        await self._effect("inspect", container)
        found = self.world.containers.get(container)
        return self._shown(found) if found is not None and found.is_whole else None

    def _shown(self, found: FakeContainer) -> ObservedContainer:
        """One that we hold still ourselves is not paused, as far as anybody else can tell."""
        return replace(found.seen, state=ContainerState.RUNNING) if found.seen.id in self._stilled else found.seen

    async def ensure_image(
        self, name: str, policy: PullPolicy, progress: Progress | None = None, asker: Asker = OPERATOR
    ) -> ImageFacts:
        """Pull from a registry in memory."""
        await self._effect("ensure_image", name)
        facts = await self.world.images.ensure(name, policy, progress, asker)
        self._hook("after", "ensure_image", name)
        return facts

    async def images(self) -> Sequence[NodeImage]:
        """The store."""
        return self.world.images.list()

    async def import_image(self, path: str, name: str | None = None) -> Sequence[NodeImage]:
        """Take an archive: only its name is looked at."""
        if not await asyncio.to_thread(Path(path).is_file):
            raise Permanent(f"There is no archive {path}.")
        return [self.world.images.add(name or Path(path).name.partition(".")[0])]

    async def commit(self, container: str, name: str, limit: int) -> NodeImage:
        """Held still meanwhile, if it runs: a crash in the middle leaves it so."""
        await self._effect("commit", container)
        found = self._find(container)
        if self.world.images.find(found.config.spec.node_image) is None:
            raise Permanent("The image that the container was made of is not on its node any more.")
        if found.files.writers:
            raise Temporary("Files are just being copied into the container; try again.")
        if limit <= 0:
            raise Permanent("The container wrote more than an image can take.")
        if found.seen.state is ContainerState.RUNNING:
            self._stilled.add(container)
            found.seen = replace(found.seen, state=ContainerState.PAUSED)
        try:
            self._hook("during", "commit", container)
            made = self.world.images.commit(name, found.seen, found.config.spec.environment)
        except Exception:
            self._go_on(found)
            raise
        self._go_on(found)
        self._hook("after", "commit", container)
        return made

    def _go_on(self, found: FakeContainer) -> None:
        found.seen = self._shown(found)
        self._stilled.discard(found.seen.id)

    async def read_image(self, name: str, reference: str, offset: int, length: int) -> ImagePart:
        """Of an archive with next to nothing in it."""
        return self.world.images.part(name, reference, offset, length)

    async def push_image(self, name: str, target: PushTarget, progress: Progress | None = None) -> str:
        """Into the registry that it pulls from."""
        await self._effect("push_image", name)
        return self.world.images.push(name, target.reference, progress)

    async def remove_image(self, name: str) -> None:
        """Forget it."""
        await self._effect("remove_image", name)
        self.world.images.remove(name)
        self._hook("after", "remove_image", name)

    async def create(self, config: ContainerConfig) -> None:
        """Two steps, as for a real one: a crash between them leaves half of it."""
        await self._effect("create", config.id)
        found = self.world.containers.get(config.id)
        if found is not None and found.is_whole:
            if found.seen.rebuild != config.rebuild:
                raise Conflict(f"Container {config.id} exists with another root filesystem.")
            return
        facts = self.world.images.find(config.spec.node_image)
        if facts is None:
            raise Permanent(f"The image {config.spec.image} is not on this node.")
        if not self.world.images.admits(facts.name, config.project):
            raise Temporary(f"The registry is to be asked for the image {config.spec.image} again.")
        made = self.world.containers[config.id] = new_container(config, facts)
        self._hook("during", "create", config.id)
        made.is_whole = True
        self.world.tell(config.id)
        self._hook("after", "create", config.id)

    async def start(self, container: str, run: int, attempt: int, netns: str) -> None:
        """Write down which start this is, then run: a crash between the two leaves a start that never ran."""
        await self._effect("start", container)
        found = self._find(container)
        same = (found.seen.run, found.seen.attempt) == (run, attempt)
        if found.seen.state in ALIVE:
            if same:
                return
            raise Conflict(f"Container {container} runs.")
        if same and found.seen.state is ContainerState.EXITED:
            if found.seen.error is not None:
                raise Permanent(found.seen.error)
            return
        blank = {"pid": None, "exit_code": None, "oom_killed": False, "error": None, "cut_off": None}
        found.seen = replace(
            found.seen, state=ContainerState.CREATED, run=run, attempt=attempt,
            started_at=None, finished_at=None, **blank,  # type: ignore[arg-type]
        )  # fmt: skip
        self._hook("during", "start", container)
        self._launch(found)
        self._hook("after", "start", container)
        if found.seen.error is not None:
            raise Permanent(found.seen.error)

    async def stop(self, container: str, grace: float, reason: str | None = None) -> None:
        """Most programs end when asked; one that does not is killed."""
        await self._effect("stop", container)
        found = self.world.containers.get(container)
        if found is None or found.seen.state not in ALIVE:
            return
        if reason is not None and found.seen.cut_off is None:
            found.seen = replace(found.seen, cut_off=reason)
            self._hook("during", "stop", container)
        self.world.stops.append(container)
        if found.program.obeys and grace > 0:
            self.world.end(container, ENDED, self._now)
        elif grace > 0:
            await self._ask(found, grace)
        self.world.end(container, KILLED, self._now)
        self._hook("after", "stop", container)

    async def _ask(self, found: FakeContainer, grace: float) -> None:
        """Once, of one that does not heed it; then wait for what is left of its time, or its end."""
        now, container = asyncio.get_running_loop().time(), found.seen.id
        if not found.seen.is_ending:
            self.world.asks[container] += 1
            found.asked_at = now
            found.seen = replace(found.seen, state=ContainerState.RUNNING, is_ending=True)
            self._hook("during", "stop", container)
        try:
            await asyncio.wait_for(found.ended.wait(), found.asked_at + grace - now)
        except TimeoutError:
            self._hook("during", "stop", container)

    async def pause(self, container: str) -> None:
        """Freeze; the time of its program goes on."""
        await self._switch("pause", container, ContainerState.PAUSED)

    async def resume(self, container: str) -> None:
        """Thaw."""
        await self._switch("resume", container, ContainerState.RUNNING)

    async def update(self, container: str, cpu: float, memory: int) -> None:
        """Remember the limits."""
        await self._effect("update", container)
        found = self._find(container)
        found.seen = replace(found.seen, cpu=cpu, memory=memory)
        self._hook("after", "update", container)

    async def tell_names(
        self, container: str, nameservers: tuple[str, ...], hosts: tuple[tuple[str, str], ...]
    ) -> None:
        """Remember them."""
        await self._effect("tell_names", container)
        found = self.world.containers.get(container)
        if found is not None:
            found.config = replace(found.config, nameservers=nameservers, hosts=hosts)
        self._hook("after", "tell_names", container)

    async def remove(self, container: str) -> None:
        """Kill and forget."""
        await self._effect("remove", container)
        found = self.world.containers.get(container)
        if found is not None:
            if found.seen.state in ALIVE:
                self.world.stops.append(container)
                self.world.end(container, KILLED, self._now)
                self._hook("during", "remove", container)
            self.world.containers.pop(container, None)
            self.world.sweep_groups()
            self.world.tell(container)
        with suppress(FileNotFoundError):
            os.utime(Path(self.log_path(container)).parent)
        self._hook("after", "remove", container)

    def events(self) -> AsyncIterator[str]:
        """From this moment on."""
        queue: asyncio.Queue[str] = asyncio.Queue()
        self.world.listeners.add(queue)
        return self._drain(queue)

    async def signal(self, container: str, number: int) -> None:
        """Ends the process, unless it ignores that."""
        found = self._running(container)
        if number == _KILL or (number == _TERM and found.program.obeys):
            self.world.end(container, 128 + number, self._now)

    async def exec(self, container: str, command: tuple[str, ...], timeout: float, limit: int) -> ExecResult:
        """As a process of its own."""
        await self._effect("exec", container)
        found = self._running(container)
        program = found.ipc.program(command) or program_of(command, found.seen.attempt)
        if program.refusal is not None:
            raise Invalid(program.refusal)
        if program.seconds is None or program.seconds > timeout:
            await asyncio.sleep(timeout)
            raise Conflict(f"The command did not end within {timeout:g} seconds.")
        await asyncio.sleep(program.seconds)
        return ExecResult(program.output[:limit], program.exit_code, len(program.output) > limit)

    async def attach(self, container: str) -> Stream:
        """To the one process."""
        found = self._running(container)
        if found.process is None:
            raise Conflict(f"Container {container} is not running.")
        return FakeStream(found.process, takes_input=found.config.spec.interactive, owned=False)

    async def start_exec(
        self, container: str, command: tuple[str, ...], tty: bool, size: tuple[int, int] | None = None
    ) -> Stream:
        """As a process of its own, which ends with the container too."""
        found = self._running(container)
        return executed(program_of(command), command, tty, size, found.ended)

    async def resize_terminal(self, container: str, rows: int, columns: int) -> None:
        """Remember it."""
        found = self._running(container)
        if found.process is not None:
            found.process.size = (rows, columns)

    async def top(self, container: str, ps_args: str) -> ProcessTable:
        """Its one process."""
        found = self._running(container)
        if ps_args.startswith("--invalid"):
            raise Invalid("ps does not know these arguments.")
        argv = " ".join((*found.seen.entrypoint, *found.seen.command))
        return ProcessTable(("PID", "USER", "TIME", "COMMAND"), ((str(found.seen.pid), "root", "0:00", argv),))

    async def stats(self, container: str) -> Reading:
        """Always a little."""
        found = self._running(container)
        limit = found.memory_limit
        return Reading(1.0, min(4 << 20, limit), limit, 0, 0, 0, 0)

    async def pack(self, container: str, path: str, limit: int) -> FakePacked:
        """From a tree in memory."""
        return self._find(container).files.pack(path, limit)

    async def unpack(self, container: str, path: str, limit: int) -> FakeUnpacked:
        """Into a tree in memory."""
        return self._find(container).files.unpack(path, limit)

    def log_path(self, container: str) -> str:
        """In the world's directory."""
        return f"{self.world.logs or '/nonexistent'}/{container}/container.log"

    async def tend_log(self, container: str, largest: int) -> None:
        """One rotated file is kept."""
        await asyncio.to_thread(_rotate, Path(self.log_path(container)), largest)

    async def _effect(self, name: str, subject: str) -> None:
        await asyncio.sleep(self.world.latency)
        self._hook("before", name, subject)

    async def _drain(self, queue: asyncio.Queue[str]) -> AsyncIterator[str]:
        try:
            while True:
                yield await queue.get()
        finally:
            self.world.listeners.discard(queue)

    def _find(self, container: str) -> FakeContainer:
        found = self.world.containers.get(container)
        if found is None or not found.is_whole:
            raise NotFound(f"There is no container {container}.")
        return found

    def _running(self, container: str) -> FakeContainer:
        found = self._find(container)
        if found.seen.state is not ContainerState.RUNNING:
            raise Conflict(f"Container {container} is not running.")
        return found

    async def _switch(self, name: str, container: str, state: ContainerState) -> None:
        await self._effect(name, container)
        found = self._find(container)
        if found.seen.state not in ALIVE:
            raise Conflict(f"Container {container} is not running.")
        found.seen = replace(found.seen, state=state, is_ending=False)
        self.world.tell(container)
        self._hook("after", name, container)

    def _launch(self, found: FakeContainer) -> None:
        world, seen, program = self.world, found.seen, found.program
        now = self._now()
        if program.refusal is not None:
            found.seen = replace(
                seen, state=ContainerState.EXITED, error=program.refusal, exit_code=128, finished_at=now
            )
            world.tell(seen.id)
            return
        world.starts[seen.id, seen.rebuild, seen.run, seen.attempt] += 1
        found.seen = replace(seen, state=ContainerState.RUNNING, pid=world.next_pid(), started_at=now)
        found.ended.clear()
        found.ipc = world.ipc_of(found.config)
        if program.output and world.logs:
            _write_log(self.log_path(seen.id), program.output, now.isoformat())
        clock = self._now
        found.process = FakeProcess(program, tty=found.config.spec.tty, ended=lambda c: world.end(seen.id, c, clock))
        found.process.say(program.output)
        if program.seconds is not None:
            loop, clock = asyncio.get_running_loop(), self._now
            found.timer = loop.call_later(
                program.seconds,
                lambda: world.end(seen.id, program.exit_code, clock, oom=program.oom),
            )
        world.tell(seen.id)


def _write_log(path: str, output: bytes, stamp: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as file:
        file.writelines(stamp.encode() + b" stdout F " + line + b"\n" for line in output.splitlines())


def _rotate(path: Path, largest: int) -> None:
    if path.is_file() and path.stat().st_size > largest:
        path.replace(f"{path}.1")

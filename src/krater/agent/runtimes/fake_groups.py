"""What the processes of a fake container see of ipc: the namespace by its number, and the names in /dev/shm.

Containers of a group have one of these together, which goes with the last of them; others have a new one each start.
"""

from dataclasses import dataclass, field

from krater.agent.runtimes.fake_programs import Program

_SHM = "/dev/shm"  # noqa: S108 -- in no file system at all


@dataclass(eq=False)
class FakeIpc:
    """One namespace."""

    number: int
    names: set[str] = field(default_factory=set)

    def program(self, command: tuple[str, ...]) -> Program | None:
        """What a command does that looks at it, None when it is another."""
        match command:
            case ("readlink", "/proc/self/ns/ipc"):
                return Program(seconds=0.0, output=f"ipc:[{self.number}]\n".encode())
            case ("touch", path) if path.startswith(f"{_SHM}/"):
                self.names.add(path.removeprefix(f"{_SHM}/"))
                return Program(seconds=0.0)
            case ("ls", path) if path == _SHM:
                return Program(seconds=0.0, output="".join(f"{name}\n" for name in sorted(self.names)).encode())
        return None

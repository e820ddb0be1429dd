"""Arguments of the operations on a container. Unknown ones are ignored, as the Container API has it."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from krater.api.schemas.fields import Boolean, BooleanExtended, Name, Positive, ShortText

_END = r"(?![\s\S])"
_EXEC_ID = Annotated[str, Meta(pattern=rf"^[0-9a-f]{{64}}{_END}", description="64 hexadecimal digits")]

FilePath = Annotated[str, Meta(min_length=1, max_length=4095, description="a path in the container")]


class Nothing(Struct):
    """No arguments."""


class CapsuleTimeout(Struct):
    """How long all of a capsule has between being asked to end and being killed; the operator sets the most."""

    timeout: Annotated[str, Meta(pattern=rf"^[0-9]{{0,9}}{_END}", description="a number of seconds")] = ""


class Timeout(Struct):
    """How long to wait between asking a process to end and killing it."""

    timeout: Annotated[
        str, Meta(pattern=rf"^[0-9]{{0,6}}{_END}", description="a number of seconds from 0 to 999999")
    ] = ""


class Rebuild(Struct):
    """What to build anew from."""

    image: (
        Annotated[str, Meta(min_length=2, max_length=255, description="an image name of 2 to 255 characters")] | None
    ) = None
    image_driver: Annotated[Literal["docker", "glance", "None", ""], Meta(description="docker or glance")] | None = None


class Kill(Struct):
    """The signal to send."""

    signal: Annotated[
        str, Meta(min_length=1, max_length=20, description="the name or number of a signal, such as SIGKILL, HUP or 9")
    ] = "SIGKILL"


class LogsQuery(Struct):
    """Which part of a log."""

    stdout: BooleanExtended = True
    stderr: BooleanExtended = True
    timestamps: BooleanExtended = False
    tail: Annotated[str, Meta(pattern=rf"^([0-9]{{1,9}}|all|None|){_END}", description="a number of lines, or all")] = (
        "all"
    )
    since: Annotated[str, Meta(max_length=40, description="seconds since 1970, or YYYY-MM-DD HH:MM:SS,mmm")] = ""


class LogsStreamQuery(LogsQuery):
    """Which part of a log, and whether to go on."""

    follow: BooleanExtended = True


class Execute(Struct):
    """A command to run inside."""

    command: Annotated[str, Meta(min_length=1, max_length=131072, description="a command line")]
    run: Boolean = True
    interactive: Boolean = False
    tty: Boolean | None = None  # Krater's own, as the two below: Zun gives a terminal to what is interactive
    h: Positive | None = None
    w: Positive | None = None


class ExecuteResize(Struct):
    """The size of the terminal of a command."""

    exec_id: _EXEC_ID
    h: Positive
    w: Positive


class ResizeConsole(Struct):
    """The size of the container's own terminal."""

    h: Positive
    w: Positive


class TopQuery(Struct):
    """Which columns."""

    ps_args: Annotated[str, Meta(max_length=1000, description="arguments of ps")] = ""


class ArchivePath(Struct):
    """Which file or directory."""

    path: FilePath


class PutArchive(Struct):
    """An archive and where to unpack it."""

    path: FilePath
    data: Annotated[str, Meta(description="a tar archive in base64 (before 1.25: as it is)")]


class NetworkAttach(Struct):
    """The network to be on: by id or name, by a port, or (neither) the default one."""

    network: ShortText | None = None
    port: ShortText | None = None
    fixed_ip: Annotated[str, Meta(min_length=1, max_length=45, description="an IPv4 or IPv6 address")] | None = None


class NetworkDetach(Struct):
    """The network, or the port, to be off."""

    network: ShortText | None = None
    port: ShortText | None = None


class GroupName(Struct):
    """A security group."""

    name: ShortText


class Rename(Struct):
    """The new name."""

    name: Name

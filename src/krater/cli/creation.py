"""What a new container is asked for with: options of `krater run` and `create`, and the request made of them."""

import os
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from krater.cli import mounts
from krater.cli.arguments import complete_images, disk, memory
from krater.client.answers import NewContainer

Command = TypeVar("Command", bound=Callable[..., Any])

_PULL = {"always": "always", "missing": "ifnotpresent", "never": "never"}
_AS_GIVEN = ("name", "cpu", "memory", "disk", "workdir", "hostname", "interactive", "tty", "registry")
_NET_KEYS = {"v4": "v4-fixed-ip", "v6": "v6-fixed-ip", "v4-fixed-ip": "v4-fixed-ip", "v6-fixed-ip": "v6-fixed-ip"}

_OPTIONS = (
    click.option("--name", metavar="NAME", help="Its name; made up if not given."),
    click.option("-e", "--env", multiple=True, metavar="KEY[=VALUE]", help="Environment; KEY alone takes yours."),
    click.option(
        "--env-file",
        multiple=True,
        type=click.Path(exists=True, dir_okay=False, allow_dash=True),
        help="File of KEY=VALUE lines.",
    ),
    click.option("-l", "--label", multiple=True, metavar="KEY[=VALUE]", help="Label."),
    click.option("--cpu", type=click.FloatRange(min=0, min_open=True), metavar="CORES", help="Cores, such as 0.5."),
    click.option("-m", "--memory", type=memory, metavar="AMOUNT", help="Memory: 512 (MiB), 512m, 2g."),
    click.option("--disk", type=disk, metavar="AMOUNT", help="Disk: 10 (GiB), 10g."),
    click.option("-w", "--workdir", metavar="DIR", help="Directory its command starts in."),
    click.option("--entrypoint", metavar="COMMAND", help="Instead of the image's; words as a shell splits them."),
    click.option("--restart", metavar="POLICY", help="no, always, on-failure[:TIMES] or unless-stopped."),
    click.option(
        "--healthcheck",
        metavar="cmd=COMMAND[,interval=30s][,timeout=30s][,retries=3]",
        help="A command inside that tells whether it is well; --restart or --auto-heal restart it when it is not.",
    ),
    click.option("--auto-heal", is_flag=True, help="Make it anew when it is lost; restart it when it is ill."),
    click.option("--hostname", metavar="NAME", help="Host name it sees."),
    click.option("--net", multiple=True, metavar="NETWORK[,v4=IP][,v6=IP]", help="Network, or port=ID; repeatable."),
    *mounts.OPTIONS,
    click.option(
        "--security-group", multiple=True, metavar="GROUP", help="Instead of the default security group; repeatable."
    ),
    click.option("--expose", multiple=True, metavar="PORT[/udp]", help="Port anybody may reach; repeatable."),
    click.option("--zone", metavar="ZONE", help="Availability zone."),
    click.option("--registry", metavar="NAME", help="The registry its image comes from; see `krater registry`."),
    click.option("--pull", type=click.Choice([*_PULL]), help="When to ask the registry (administrators)."),
    click.option("-i", "--interactive", is_flag=True, help="Keep its input open."),
    click.option("-t", "--tty", is_flag=True, help="Give it a terminal."),
)


def creation_options(command: Command) -> Command:
    """The options of `run` and `create`, and their arguments."""
    command = click.argument("command", nargs=-1, type=click.UNPROCESSED)(command)
    command = click.argument("image", shell_complete=complete_images)(command)
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def wanted(image: str, command: tuple[str, ...], options: Mapping[str, Any]) -> NewContainer:
    """The request for these options. Only what was given is in it: the server knows the defaults."""
    asked = {
        "image": image,
        "command": [*command],
        "entrypoint": _split(options["entrypoint"]),
        "environment": {**_from_files(options["env_file"]), **_environment(options["env"])},
        "labels": {key: value for key, _, value in (text.partition("=") for text in options["label"])},
        "restart_policy": _restart(options["restart"]),
        "healthcheck": healthcheck(options["healthcheck"]),
        "auto_heal": options["auto_heal"],
        "nets": [_net(text) for text in options["net"]],
        "mounts": mounts.mounts(options["mount"], options["volume"]),
        "security_groups": [*options["security_group"]],
        "exposed_ports": {text: {} for text in options["expose"]},
        "image_pull_policy": _PULL.get(options["pull"]),
        "availability_zone": options["zone"],
        **{key: options.get(key) for key in _AS_GIVEN},
    }
    given = {key: value for key, value in asked.items() if value or (key == "entrypoint" and value is not None)}
    return cast(NewContainer, given)


def _split(text: str | None) -> list[str] | None:
    """The words of an entrypoint; an empty one is meant: it takes the image's away."""
    if text is None:
        return None
    try:
        return shlex.split(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r}: {str(error).lower()}.", param_hint="--entrypoint") from None


def _environment(texts: Iterable[str], hint: str = "--env") -> dict[str, str]:
    """KEY=VALUE as it is; KEY takes the value it has here, and is left out where it has none."""
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or any(c.isspace() for c in key):
            raise click.BadParameter(f"{text!r}: expected KEY=VALUE or KEY.", param_hint=hint)
        if equals:
            found[key] = value
        elif key in os.environ:
            found[key] = os.environ[key]
    return found


def _from_files(paths: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in paths:
        try:
            text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise click.BadParameter(f"{path} cannot be read: {error}.", param_hint="--env-file") from None
        lines = [line.strip() for line in text.splitlines()]
        found |= _environment([line for line in lines if line and not line.startswith("#")], f"--env-file {path}")
    return found


def _restart(text: str | None) -> dict[str, str] | None:
    if text is None:
        return None
    name, colon, times = text.partition(":")
    good = name in ("no", "always", "on-failure", "unless-stopped")
    if not good or (colon and (name != "on-failure" or not times.isdigit())):
        raise click.BadParameter(
            f"{text!r}: expected no, always, on-failure[:TIMES] or unless-stopped.", param_hint="--restart"
        )
    return {"Name": name, "MaximumRetryCount": times or "0"}


_CHECK_KEYS = ("cmd", "interval", "timeout", "retries")
_CHECK_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


def healthcheck(text: str | None) -> dict[str, str | int] | None:
    """`cmd=curl -f localhost,interval=30s,retries=3`, as the API wants it. A comma within the command stays in it."""
    if text is None:
        return None
    found: dict[str, str | int] = {}
    for key, value in _check_parts(text):
        if key in found:
            raise click.BadParameter(f"{text!r}: {key} is given twice.", param_hint="--healthcheck")
        found[key] = value if key == "cmd" else _check_number(key, value)
    if not str(found.get("cmd", "")).strip():
        raise click.BadParameter(
            f"{text!r}: expected cmd=COMMAND[,interval=30s][,timeout=30s][,retries=3].", param_hint="--healthcheck"
        )
    return found


def _check_parts(text: str) -> list[tuple[str, str]]:
    """Keys and values. A piece that does not begin with a key belongs to what is before it."""
    parts: list[tuple[str, str]] = []
    for piece in text.split(","):
        key, equals, value = piece.partition("=")
        if equals and key.strip() in _CHECK_KEYS:
            parts.append((key.strip(), value.strip()))
        elif parts and parts[-1][0] == "cmd":
            parts[-1] = ("cmd", f"{parts[-1][1]},{piece}")
        else:
            raise click.BadParameter(
                f"{text!r}: {piece!r} is none of {', '.join(f'{key}=' for key in _CHECK_KEYS)}.",
                param_hint="--healthcheck",
            )
    return parts


def _check_number(key: str, value: str) -> int:
    number, unit = (value, "") if key == "retries" or value[-1:].isdigit() else (value[:-1], value[-1:])
    if not (number.isascii() and number.isdigit()) or unit not in _CHECK_UNITS:
        shape = "a whole number" if key == "retries" else "a time such as 30s, 5m or 1h"
        raise click.BadParameter(f"{key}={value}: expected {shape}.", param_hint="--healthcheck")
    return int(number) * _CHECK_UNITS[unit]


def _net(text: str) -> dict[str, str]:
    """`web,v4=10.0.0.5`, or `port=ID`, as the API wants it."""
    first, *rest = text.split(",")
    key, equals, value = first.partition("=")
    net = {key: value} if equals else {"network": first}
    for part in rest:
        name, _, address = part.partition("=")
        net[_NET_KEYS.get(name, name)] = address
    known = {"network", "port", *_NET_KEYS.values()}
    if not set(net) <= known or len({"network", "port"} & set(net)) != 1 or not all(net.values()):
        raise click.BadParameter(
            f"{text!r}: expected NETWORK[,v4=ADDRESS][,v6=ADDRESS] or port=ID.", param_hint="--net"
        )
    return net

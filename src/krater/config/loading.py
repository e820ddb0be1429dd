"""Reading the settings, and writing the sample of them.

The file format and its parsing are oslo.config's, over a private ConfigOpts. Unknown sections, unknown options and
bad values are refused with the reason: a typing mistake must never mean a silent default.
"""

import configparser
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import MISSING, fields
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from oslo_config import cfg, types

from krater.config.sections import SECTIONS, AgentSettings, NetworkSettings, Settings
from krater.errors import Invalid
from krater.model.image import parse_image
from krater.model.node import parse_processors

_PATHS = (
    ("api", "policy_file", "file"),
    ("gateway", "tls_certificate", "file"),
    ("gateway", "tls_key", "file"),
    ("registries", "default_password_file", "file"),
    ("registries", "ca_file", "file"),
    ("registries", "certificates", "directory"),
)


def load(path: Path | None = None, overrides: Mapping[tuple[str, str], str] | None = None) -> Settings:
    """Read the settings: defaults, then the file at `path`, then `overrides` ((section, option) -> text).

    Raises Invalid with the file, section, option and reason. A `path` that is given must exist.
    """
    conf = cfg.ConfigOpts()
    for section, shape in SECTIONS.items():
        for entry in fields(shape):
            conf.register_opt(_as_opt(entry), group=_group(section))
    _refuse_unknown(path)
    try:
        conf(args=[], project="krater", default_config_files=[str(path)] if path else [], default_config_dirs=[])
    except cfg.Error as error:
        raise Invalid(f"{path}: {_sentence(error)}") from error
    settings = _read_all(conf, f"{path}: ")
    for (section, option), text in (overrides or {}).items():
        try:
            conf.set_override(option, text, group=_group(section))
        except (cfg.Error, ValueError) as error:
            raise Invalid(f"option {option} of [{_group(section) or 'DEFAULT'}]: {_sentence(error)}") from error
    settings = _read_all(conf, "") if overrides else settings
    _check_ranges(settings.network)
    _check_processors(settings.agent)
    _check_registries(settings)
    _check_paths(settings)
    return settings


def sample() -> str:
    """A configuration file with every option, its meaning and its default, all commented out."""
    lines = ["# Krater's settings. Every option stands here with its default; unknown ones are refused at start.", ""]
    for section, shape in SECTIONS.items():
        lines += [f"[{_group(section) or 'DEFAULT'}]", f"# {(shape.__doc__ or '').splitlines()[0]}", ""]
        for entry in fields(shape):
            lines += [f"# {_meaning(entry)}", f"#{entry.name} = {_default_text(entry)}", ""]
    return "\n".join(lines)


def _group(section: str) -> str | None:
    return None if section == "core" else section


def _default(entry: Any) -> Any:
    if entry.default is not MISSING:
        return entry.default
    return entry.metadata.get("default", entry.default_factory())


def _default_text(entry: Any) -> str:
    if entry.name == "host":
        return "(the machine's name)"
    value = _default(entry)
    if isinstance(value, list):
        return ",".join(value)
    if isinstance(value, dict):
        return ",".join(f"{k}:{v}" for k, v in value.items())
    return str(value)


def _meaning(entry: Any) -> str:
    limits = entry.metadata
    bounds = [f"{word} {limits[key]}" for key, word in (("min", "at least"), ("max", "at most")) if key in limits]
    if "choices" in limits:
        bounds.append("one of " + ", ".join(limits["choices"]))
    return str(limits["text"]) + (f" ({', '.join(bounds)})" if bounds else "")


def _as_opt(entry: Any) -> cfg.Opt:
    default, limits = _default(entry), entry.metadata
    kind: types.ConfigType
    match default:
        case bool():
            kind = types.Boolean()
        case int():
            kind = types.Integer(min=limits.get("min"), max=limits.get("max"))
        case float():
            kind = types.Float(min=limits.get("min"), max=limits.get("max"))
        case list():
            kind = types.List()
        case dict():
            kind = types.Dict()
        case _:
            kind = types.String(choices=limits.get("choices"))
    return cfg.Opt(entry.name, type=kind, default=default, help=limits["text"])


def _read_all(conf: cfg.ConfigOpts, source: str) -> Settings:
    """`source` is where bad values come from, for whoever has to mend them."""
    read = {}
    for section, shape in SECTIONS.items():
        try:
            read[section] = _read(conf, section, shape)
        except (cfg.Error, ValueError) as error:
            raise Invalid(f"{source}[{_group(section) or 'DEFAULT'}] {_sentence(error)}") from error
    return Settings(**read)


def _read(conf: cfg.ConfigOpts, section: str, shape: type) -> Any:
    group = conf if section == "core" else conf[section]
    values = {}
    for entry in fields(shape):
        value = group[entry.name]
        values[entry.name] = tuple(value) if isinstance(value, list) else value
    return shape(**values)


def _refuse_unknown(path: Path | None) -> None:
    """oslo.config ignores what it does not know; we do not."""
    if path is None:
        return
    parser = configparser.RawConfigParser(strict=False, default_section="\0none")
    try:
        with path.open(encoding="utf-8") as file:
            parser.read_file(file)
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        raise Invalid(f"{path}: cannot be read: {error}") from error
    for section in parser.sections():
        shape = SECTIONS.get("core" if section == "DEFAULT" else section)
        if shape is None or section == "core":
            known = ", ".join(_group(s) or "DEFAULT" for s in SECTIONS)
            raise Invalid(f"{path}: there is no section [{section}]; known are {known}")
        names = {entry.name for entry in fields(shape)}
        for option in parser.options(section):
            if option not in names:
                raise Invalid(f"{path}: [{section}] has no option {option!r}; known are {', '.join(sorted(names))}")


def _check_ranges(network: NetworkSettings) -> None:
    """What one option's type cannot tell: that ranges are ranges, and of the right family."""
    for name, version in (("pool", 4), ("pool_v6", 6)):
        text = getattr(network, name)
        if name == "pool_v6" and not text:
            continue
        try:
            found = ip_network(text).version
        except ValueError as error:
            raise Invalid(f"[network] {name}: {error}") from error
        if found != version:
            raise Invalid(f"[network] {name}: {text} is not an IPv{version} range")
    if network.prefix < ip_network(network.pool).prefixlen:
        raise Invalid(f"[network] prefix: a /{network.prefix} does not fit into pool {network.pool}")


def _check_processors(agent: AgentSettings) -> None:
    try:
        parse_processors(agent.dedicated_cpus)
    except ValueError:
        raise Invalid(
            f"[agent] dedicated_cpus: {agent.dedicated_cpus!r} is no set of processors, such as 2-3,6"
        ) from None


def _check_paths(settings: Settings) -> None:
    """Files that an operator names are there: a slip in the name of the policy must not mean that there is none."""
    for section, option, kind in _PATHS:
        text = getattr(getattr(settings, section), option)
        try:
            if text and stat.S_ISDIR(os.stat(text).st_mode) != (kind == "directory"):
                raise Invalid(f"[{section}] {option}: {text} is not a {kind}")
        except PermissionError:  # whoever only looks at the settings need not be the one who serves
            continue
        except (OSError, ValueError) as error:
            raise Invalid(f"[{section}] {option}: {text!r}: {getattr(error, 'strerror', error)}") from error


def _check_registries(settings: Settings) -> None:
    """Patterns, ranges and domains that mean something."""
    try:
        _ = settings.registry_rules
        parse_image("name", settings.registries.default)
    except Invalid as error:
        raise Invalid(f"[registries]: {error.message}") from error
    if bool(settings.registries.default_username) != bool(settings.registries.default_password_file):
        raise Invalid("[registries] default_username: goes together with default_password_file")
    for text in settings.api.trusted_proxies:
        try:
            ip_network(text, strict=False)
        except ValueError as error:
            raise Invalid(f"[api] trusted_proxies: {error}") from error


def _sentence(error: Exception) -> str:
    """oslo.config's text without the representation of its own objects."""
    return " ".join(re.sub(r" from LocationInfo\(.*detail='[^']*'\)", "", str(error)).split())

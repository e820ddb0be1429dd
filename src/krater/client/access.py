"""Whom to ask and as whom: options, then the environment, then a file.

A password is only ever sent to the address it was given with. When the address comes from an option and the password
from a file that names another address, the password stays unused: `--url` must not be a way to give it away.

The file is written by the server at its first start: one `key: "JSON string"` on each line, which is valid YAML, read
here by hand because importing a YAML parser costs more than everything else the command line does before its request.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from krater.client.errors import AccessError

SYSTEM_FILE = Path("/var/lib/krater/client.yaml")
DEFAULT_URL = "http://127.0.0.1:9517"

_KEYS = ("url", "username", "password", "token", "project", "cacert")
_SECRETS = ("password", "token")


@dataclass(frozen=True, slots=True)
class Access:
    """Whom to ask and as whom; `source` says, for people, where the secret was taken from."""

    url: str = DEFAULT_URL
    username: str | None = None
    password: str | None = None
    token: str | None = None
    project: str | None = None
    cacert: str | None = None
    source: str = "nowhere"


def find_access(
    options: Mapping[str, str | None] | None = None,
    *,
    client_file: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Access:
    """Put together what options, environment (KRATER_URL, KRATER_USERNAME, ...) and the client file say.

    `client_file` names the file; without it KRATER_CLIENT_FILE does, else the user's own, else the system's, whichever
    is there and may be read. Raises AccessError when a named file is not there or a file makes no sense.
    """
    environ = os.environ if environ is None else environ
    given = {key: value for key, value in (options or {}).items() if value and key in _KEYS}
    told = {key: environ[name] for key in _KEYS if environ.get(name := f"KRATER_{key.upper()}")}
    path, kept = _read_first(client_file or environ.get("KRATER_CLIENT_FILE"), environ)
    above = {**told, **given}
    if "token" in above or not _same_login(above, kept):
        kept = {key: value for key, value in kept.items() if key in ("url", "cacert")}
    if any(key in given for key in _SECRETS):
        source = "the command line"
    elif any(key in told for key in _SECRETS):
        source = "the environment"
    else:
        source = str(path) if any(key in kept for key in _SECRETS) else "nowhere"
    return Access(**{**kept, **above}, source=source)


def _same_login(above: Mapping[str, str], kept: Mapping[str, str]) -> bool:
    """Whether what the file says of a user is for the address and the user that are meant."""
    there = plain_url(kept.get("url", DEFAULT_URL))
    return plain_url(above.get("url", there)) == there and above.get("username") in (None, kept.get("username"))


def plain_url(url: str) -> str:
    """The address without what makes no difference: a slash or `/v1` at its end."""
    return url.rstrip("/").removesuffix("/v1").rstrip("/")


def _read_first(named: str | None, environ: Mapping[str, str]) -> tuple[Path | None, dict[str, str]]:
    if named:
        path = Path(named).expanduser()
        return path, _read(path)
    home = Path(environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
    for path in (home / "krater" / "client.yaml", SYSTEM_FILE):
        if os.access(path, os.R_OK):
            return path, _read(path)
    return None, {}


def _read(path: Path) -> dict[str, str]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise AccessError(f"The client file {path} cannot be read: {reason}.") from None
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        key, colon, value = line.partition(":")
        if not line.strip() or line.lstrip().startswith("#") or line.strip() == "---":
            continue
        if not colon or key.strip() not in _KEYS:
            known = ", ".join(_KEYS)
            raise AccessError(f'The client file {path}, line {number}: expected `key: "value"` with a key of {known}.')
        found[key.strip()] = _plain(value.strip(), path, number)
    return {key: value for key, value in found.items() if value}


def _plain(value: str, path: Path, number: int) -> str:
    """A JSON string, a YAML string in single quotes, or a bare word."""
    if value in ("null", "~"):
        return ""
    if value.startswith("'") and value.endswith("'") and len(value) > 1:
        return value[1:-1].replace("''", "'")
    if not value.startswith('"'):
        return value
    try:
        return str(json.loads(value))
    except ValueError:
        raise AccessError(f"The client file {path}, line {number}: the quotes do not match.") from None

"""The first start: an administrator with a random password, and files with which clients work at once.

Beside the accounts, readable by their owner only:

    clouds.yaml   for `openstack` (OS_CLIENT_CONFIG_FILE=..., --os-cloud krater)
    openrc        the same as OS_* variables, to be sourced: `zun` reads nothing else
    client.yaml   for `krater`: url, username, password, project
"""

import json
import shlex
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from krater.cloud.local.accounts import add_user
from krater.cloud.local.accounts_file import AccountsFile, make_private_directory, replace_file
from krater.cloud.local.identity import accounts_path
from krater.cloud.local.passwords import Passwords, random_password
from krater.config import Settings

ADMIN = "admin"
CLOUD = "krater"
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104


@dataclass(frozen=True, slots=True)
class ClientLogin:
    """What a client needs to know. `url` is the API's, without /v1."""

    url: str
    user: str
    password: str = field(repr=False)
    project: str


def ensure_accounts(settings: Settings) -> ClientLogin | None:
    """Make the accounts and the example files if there are none yet. Returns what was made: it is told once."""
    file = AccountsFile(accounts_path(settings))
    if file.path.exists():
        return None
    login = ClientLogin(client_url(settings), ADMIN, random_password(), ADMIN)
    # Examples first: killed in between, the next start makes both anew; the other way the password would be lost.
    write_examples(Path(settings.core.directory), login)
    hashed = Passwords().hash(login.password)
    file.edit(lambda held: held if held.users else add_user(held, ADMIN, hashed, ADMIN, "admin"))
    return login


def client_url(settings: Settings) -> str:
    """Where a client on this machine finds the API."""
    api = settings.api
    if api.public_url:
        return api.public_url.rstrip("/")
    host = _ANY_ADDRESS.get(api.host_ip, api.host_ip)
    return f"http://[{host}]:{api.port}" if ":" in host else f"http://{host}:{api.port}"


def write_examples(directory: Path, login: ClientLogin) -> None:
    """Write the three files."""
    make_private_directory(directory)
    replace_file(directory / "clouds.yaml", clouds_yaml(login))
    replace_file(directory / "openrc", openrc(login))
    replace_file(directory / "client.yaml", client_yaml(login))


def refresh_examples(settings: Settings, user: str, password: str) -> None:
    """After a change of password: bring the example files up to date, when they are this user's."""
    path = Path(settings.core.directory) / "client.yaml"
    try:
        held = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError):
        return
    if isinstance(held, dict) and held.get("username") == user:
        login = ClientLogin(client_url(settings), user, password, str(held.get("project", ADMIN)))
        write_examples(path.parent, login)


def clouds_yaml(login: ClientLogin) -> str:
    """What os-client-config reads."""
    auth = {
        "auth_url": f"{login.url}/identity/v3",
        "username": login.user,
        "password": login.password,
        "project_name": login.project,
        "user_domain_id": "default",
        "project_domain_id": "default",
    }
    cloud = {"auth_type": "password", "auth": auth, "identity_api_version": "3"}
    return yaml.safe_dump({"clouds": {CLOUD: cloud}}, sort_keys=False)


def openrc(login: ClientLogin) -> str:
    """What a shell reads."""
    variables = {
        "OS_AUTH_TYPE": "password",
        "OS_AUTH_URL": f"{login.url}/identity/v3",
        "OS_USERNAME": login.user,
        "OS_PASSWORD": login.password,
        "OS_PROJECT_NAME": login.project,
        "OS_USER_DOMAIN_ID": "default",
        "OS_PROJECT_DOMAIN_ID": "default",
        "OS_IDENTITY_API_VERSION": "3",
    }
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())


def client_yaml(login: ClientLogin) -> str:
    """What the command `krater` reads: YAML whose values are JSON strings, so that it needs no YAML parser."""
    keys = {"url": login.url, "username": login.user, "password": login.password, "project": login.project}
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in keys.items())

"""How commands get at the server: a client made when first needed, from the options before the command."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import click

from krater.client import Access, Client, find_access

P = ParamSpec("P")
R = TypeVar("R")

OPTIONS = ("url", "username", "project", "cacert")


class Connection:
    """The one client of this program, and what is known of whom it asks."""

    def __init__(self) -> None:
        self.access: Access | None = None
        self._client: Client | None = None

    def client(self, options: dict[str, Any]) -> Client:
        """The client; the first call decides for whom."""
        if self._client is None:
            chosen = {key: options.get(key) for key in OPTIONS}
            self.access = find_access(chosen, client_file=options.get("client_file"))
            self._client = Client.from_access(self.access, timeout=float(options.get("timeout") or 60))
        return self._client

    def close(self) -> None:
        """Close what was opened."""
        if self._client is not None:
            self._client.close()


def client_of(context: click.Context) -> Client:
    """The client for a command that runs in this context. Works during completion too, when no command does."""
    root = context.find_root()
    connection = root.obj if isinstance(root.obj, Connection) else Connection()
    root.obj = connection
    return connection.client(root.params)


def pass_client(command: Callable[Concatenate[Client, P], R]) -> Callable[P, R]:
    """Give the command the client as its first argument."""

    @wraps(command)
    def with_client(*args: P.args, **kwargs: P.kwargs) -> R:
        return command(client_of(click.get_current_context()), *args, **kwargs)

    return with_client


def access_of(context: click.Context) -> Access | None:
    """Whom the client asks, for error messages."""
    connection = context.find_root().obj
    return connection.access if isinstance(connection, Connection) else None

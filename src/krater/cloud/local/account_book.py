"""The accounts as an operator edits them: what `krater account` does."""

from collections.abc import Iterator
from dataclasses import dataclass

from krater.cloud.local import accounts
from krater.cloud.local.accounts_file import AccountsFile
from krater.cloud.local.credentials import refresh_examples
from krater.cloud.local.identity import accounts_path
from krater.cloud.local.passwords import Passwords
from krater.config import Settings


@dataclass(frozen=True, slots=True)
class Account:
    """A user's role in one project, by name and id. Without any role `project` and `role` are empty."""

    user: str
    user_id: str
    project: str
    project_id: str
    role: str


class AccountBook:
    """The accounts file and the ready client files beside it. A running Krater sees every change at once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._file = AccountsFile(accounts_path(settings))

    def add(self, user: str, password: str, project: str, role: str) -> None:
        """A new user. Conflict when there is one of the name, Invalid for a bad name, role or password."""
        hashed = Passwords().hash(password)
        self._file.edit(lambda held: accounts.add_user(held, user, hashed, project, role))

    def assign(self, user: str, project: str, role: str) -> None:
        """Give a known user a role in a project. NotFound, Invalid."""
        self._file.edit(lambda held: accounts.assign(held, user, project, role))

    def set_password(self, user: str, password: str) -> None:
        """A new password; the user's tokens end. NotFound, Invalid."""
        hashed = Passwords().hash(password)
        self._file.edit(lambda held: accounts.set_password(held, user, hashed))
        refresh_examples(self._settings, user, password)

    def remove(self, user: str) -> None:
        """Remove a user; its tokens end. NotFound."""
        self._file.edit(lambda held: accounts.remove_user(held, user))

    def list(self) -> Iterator[Account]:
        """Every user with every role."""
        held = self._file.current()
        for user in held.users:
            places = held.projects_of(user.id)
            for place in places:
                yield Account(user.name, user.id, place.name, place.id, held.roles_of(user.id, place.id)[0])
            if not places:
                yield Account(user.name, user.id, "", "", "")

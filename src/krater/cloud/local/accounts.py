"""Accounts as plain values: users, projects, and who has which role where. Pure; `accounts_file.py` keeps them.

Every change is a function from accounts to accounts, so that an editor can apply it to whatever the file holds at
that moment. Ids are made once and stay when names change.
"""

from dataclasses import dataclass, field, replace
from uuid import uuid4

from krater.errors import Conflict, Invalid, NotFound

ROLES = ("admin", "member", "reader")
_LONGEST_NAME = 64


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who can log in. `password` is an argon2id hash."""

    id: str
    name: str
    password: str = field(repr=False)
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class AccountProject:
    """Whose things they are."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Assigned:
    """A role of a user in a project, by their ids."""

    user: str
    project: str
    role: str


@dataclass(frozen=True, slots=True)
class Accounts:
    """Everybody."""

    users: tuple[User, ...] = ()
    projects: tuple[AccountProject, ...] = ()
    roles: tuple[Assigned, ...] = ()

    def find_user(self, ident: str) -> User | None:
        """By id, else by name."""
        by_id = next((u for u in self.users if u.id == ident), None)
        return by_id or next((u for u in self.users if u.name == ident), None)

    def find_project(self, ident: str) -> AccountProject | None:
        """By id, else by name."""
        by_id = next((p for p in self.projects if p.id == ident), None)
        return by_id or next((p for p in self.projects if p.name == ident), None)

    def roles_of(self, user: str, project: str) -> tuple[str, ...]:
        """A user's roles in a project, by their ids; what a stronger role includes is spelled out."""
        held = [ROLES.index(r.role) for r in self.roles if (r.user, r.project) == (user, project)]
        return ROLES[min(held) :] if held else ()

    def projects_of(self, user: str) -> tuple[AccountProject, ...]:
        """The projects in which a user has any role, oldest role first."""
        ids = dict.fromkeys(r.project for r in self.roles if r.user == user)
        known = {p.id: p for p in self.projects}
        return tuple(known[id] for id in ids if id in known)


def add_user(accounts: Accounts, name: str, password: str, project: str, role: str) -> Accounts:
    """A new user (with the hash of a password) who has a role in a project, which is made if need be. Conflict."""
    if accounts.find_user(checked_name(name)) is not None:
        raise Conflict(f"there is a user {name!r} already")
    made = User(uuid4().hex, name, password)
    return assign(replace(accounts, users=(*accounts.users, made)), name, project, role)


def assign(accounts: Accounts, user: str, project: str, role: str) -> Accounts:
    """Give a user a role in a project, which is made if need be; it replaces the one held there. NotFound, Invalid."""
    holder = _known_user(accounts, user)
    if role not in ROLES:
        raise Invalid(f"role: {role!r} is none of {', '.join(ROLES)}", field="role")
    place = accounts.find_project(project)
    if place is None:
        place = AccountProject(uuid4().hex, checked_name(project))
        accounts = replace(accounts, projects=(*accounts.projects, place))
    given = Assigned(holder.id, place.id, role)
    others = tuple(r for r in accounts.roles if (r.user, r.project) != (holder.id, place.id))
    return replace(accounts, roles=(*others, given))


def unassign(accounts: Accounts, user: str, project: str) -> Accounts:
    """Take a user's role in a project away. NotFound."""
    holder, place = _known_user(accounts, user), accounts.find_project(project)
    if place is None:
        raise NotFound(f"there is no project {project!r}")
    kept = tuple(r for r in accounts.roles if (r.user, r.project) != (holder.id, place.id))
    return replace(accounts, roles=kept)


def set_password(accounts: Accounts, user: str, password: str) -> Accounts:
    """A new hash; tokens issued for the old one are worth nothing from then on. NotFound."""
    changed = replace(_known_user(accounts, user), password=password)
    return replace(accounts, users=tuple(changed if u.id == changed.id else u for u in accounts.users))


def remove_user(accounts: Accounts, user: str) -> Accounts:
    """Remove a user. Projects stay: what is in them is not the user's alone. NotFound."""
    gone = _known_user(accounts, user).id
    return replace(
        accounts,
        users=tuple(u for u in accounts.users if u.id != gone),
        roles=tuple(r for r in accounts.roles if r.user != gone),
    )


def checked_name(name: str) -> str:
    """The name of a user or project. Invalid for what would be hard to read or to type."""
    if not 1 <= len(name) <= _LONGEST_NAME or not name.isprintable() or name != name.strip() or ":" in name:
        raise Invalid(
            f"name: {name[:80]!r} is not 1 to {_LONGEST_NAME} printable characters without a colon", field="name"
        )
    return name


def _known_user(accounts: Accounts, ident: str) -> User:
    user = accounts.find_user(ident)
    if user is None:
        raise NotFound(f"there is no user {ident!r}")
    return user

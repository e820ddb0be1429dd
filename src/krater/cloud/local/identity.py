"""Who is calling, from accounts in a file: passwords, tokens, and how both are remembered for a moment.

Every answer depends on the accounts as they are at that moment: what is remembered is only that a password was
right for a certain hash, and that a token was not revoked. A changed password or a removed user counts at once.
"""

import asyncio
import hashlib
import hmac
import secrets
from collections import OrderedDict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Generic, TypeVar
from uuid import uuid4

from krater.clock import Now, utc_now
from krater.cloud.interfaces import Caller, Credentials, Grant, Project, ScopeAsk, TokenCredentials
from krater.cloud.local.accounts import AccountProject, Accounts, User
from krater.cloud.local.accounts_file import AccountsFile
from krater.cloud.local.attempts import Attempts
from krater.cloud.local.passwords import LONGEST, Passwords
from krater.cloud.local.tokens import Token, TokenKeys, fingerprint
from krater.config import IdentitySettings, Settings
from krater.errors import Unauthenticated
from krater.store.interfaces import Store

T = TypeVar("T")

_MOST_REMEMBERED = 10_000


class Remembered(Generic[T]):
    """A bounded memory of values that are good until some moment."""

    def __init__(self) -> None:
        self._values: OrderedDict[bytes, tuple[T, datetime]] = OrderedDict()

    def get(self, key: bytes, now: datetime) -> T | None:
        """The value, unless its time is over."""
        found = self._values.get(key)
        return found[0] if found is not None and now < found[1] else None

    def put(self, key: bytes, value: T, until: datetime) -> None:
        """Remember it; the one that was put first is forgotten when there are too many."""
        self._values[key] = (value, until)
        self._values.move_to_end(key)
        while len(self._values) > _MOST_REMEMBERED:
            self._values.popitem(last=False)

    def drop(self, key: bytes) -> None:
        """Forget it."""
        self._values.pop(key, None)


class LocalIdentity:
    """Identity and Issuer of the embedded profile."""

    def __init__(
        self,
        settings: IdentitySettings,
        accounts: AccountsFile,
        keys: TokenKeys,
        store: Store,
        *,
        passwords: Passwords | None = None,
        attempts: Attempts | None = None,
        now: Now = utc_now,
    ) -> None:
        self._lifetime = timedelta(seconds=settings.token_lifetime)
        self._cache_time = timedelta(seconds=settings.cache_time)
        self._accounts = accounts
        self._keys = keys
        self._store = store
        self._passwords = passwords or Passwords()
        self._attempts = attempts or Attempts()
        self._now = now
        self._secret = secrets.token_bytes(32)
        self._right: Remembered[bool] = Remembered()
        self._opened: Remembered[Token] = Remembered()
        self._checks: dict[bytes, asyncio.Task[None]] = {}

    @classmethod
    def at(cls, settings: Settings, store: Store, now: Now = utc_now) -> "LocalIdentity":
        """With the files where the settings say."""
        keys = TokenKeys.load(Path(settings.core.directory) / "token.keys")
        return cls(settings.identity, AccountsFile(accounts_path(settings)), keys, store, now=now)

    # Identity ---------------------------------------------------------------------------------------------------------

    async def authenticate(self, credentials: Credentials) -> Caller:
        """Who is calling. Unauthenticated says why only as far as a stranger may know it."""
        if isinstance(credentials, TokenCredentials):
            grant = await self.inspect(credentials.token)
            if grant.project is None:
                raise Unauthenticated("the token is not for a project")
            user_id, user_name, project, roles = grant.user_id, grant.user_name, grant.project, grant.roles
            return Caller(user_id, user_name, project.id, project.name, roles, grant.token_id, grant.expires_at)
        user = await self._prove(credentials.user, credentials.password, credentials.peer)
        accounts = self._accounts.current()
        place = scoped_project(accounts, user, ScopeAsk(credentials.project))
        if place is None:
            raise Unauthenticated("the user has no project")
        return Caller(user.id, user.name, place.id, place.name, accounts.roles_of(user.id, place.id))

    # Issuer -----------------------------------------------------------------------------------------------------------

    async def log_in(self, user: str, password: str, peer: str, scope: ScopeAsk) -> tuple[str, Grant]:
        """A token for a user's password."""
        known = await self._prove(user, password, peer)
        return self._issue(known, scope, ("password",), self._now() + self._lifetime)

    async def exchange(self, token: str, scope: ScopeAsk) -> tuple[str, Grant]:
        """A token for a token."""
        given, user = await self._open(token)
        return self._issue(user, scope, tuple(dict.fromkeys((*given.methods, "token"))), given.expires_at)

    async def inspect(self, token: str) -> Grant:
        """What a token stands for."""
        opened, user = await self._open(token)
        return self._grant(opened, user)

    async def revoke(self, token: str) -> None:
        """End a token now; other processes notice within the time an answer is remembered."""
        opened, _ = await self._open(token)
        await self._store.write(lambda tx: tx.tokens.revoke(opened.id, opened.expires_at))
        self._opened.drop(self._digest(token))

    async def list_projects(self, grant: Grant) -> list[Project]:
        """The projects in which the user has a role."""
        return [Project(p.id, p.name) for p in self._accounts.current().projects_of(grant.user_id)]

    async def list_all_projects(self) -> list[Project]:
        """Every project."""
        return [Project(p.id, p.name) for p in self._accounts.current().projects]

    # Passwords --------------------------------------------------------------------------------------------------------

    async def _prove(self, ident: str, password: str, peer: str) -> User:
        """The user, if it is the right password. Checking is slow on purpose, so a right one is remembered."""
        user = self._accounts.current().find_user(ident)
        stored = user.password if user is not None and user.enabled else None
        # With the hash in the key, what was right for a former password is never taken for the present one.
        key = self._digest(ident, password, peer, stored or "")
        if self._right.get(key, self._now()) is None:
            # Requests that come together with the same credentials are one try, and one check.
            check = self._checks.get(key)
            if check is None:
                name = user.id if user is not None else "?" + self._digest(ident).hex()
                check = asyncio.create_task(self._check(name, stored, password, peer))
                self._checks[key] = check
                check.add_done_callback(lambda done: self._checked(key, done))
            await asyncio.shield(check)
        if user is None or stored is None:
            raise _wrong()
        self._right.put(key, True, self._now() + self._cache_time)
        return user

    async def _check(self, name: str, stored: str | None, password: str, peer: str) -> None:
        """Return when it is right. `name` is a user's id, lest name and id be two ways to guess."""
        wait = self._attempts.begin(name, peer, asyncio.get_running_loop().time())
        await asyncio.sleep(wait)
        if not await self._passwords.is_right(stored if len(password) <= LONGEST else None, password[:LONGEST]):
            raise _wrong()
        self._attempts.succeed(name, peer)

    def _checked(self, key: bytes, done: asyncio.Task[None]) -> None:
        self._checks.pop(key, None)
        if not done.cancelled():
            done.exception()  # all who waited may have gone: nobody is left to be told

    def _digest(self, *parts: str) -> bytes:
        """A key to remember something by that tells nothing to who reads this process's memory later.

        Not hmac: that lets other threads run meanwhile, and under load waits 100 us for its turn to come back.
        """
        text = b"\0".join(part.encode("utf-8", "surrogatepass") for part in parts)
        return hashlib.blake2b(text, key=self._secret, digest_size=32).digest()

    # Tokens -----------------------------------------------------------------------------------------------------------

    async def _open(self, text: str) -> tuple[Token, User]:
        key, now = self._digest(text), self._now()
        token = self._opened.get(key, now)
        if token is None:
            token = self._keys.open(text)
            if now < token.expires_at:
                id = token.id
                if await self._store.read(lambda tx: tx.tokens.is_revoked(id)):
                    raise Unauthenticated("the token was revoked")
                self._opened.put(key, token, min(now + self._cache_time, token.expires_at))
        if now >= token.expires_at:
            raise Unauthenticated("the token has expired")
        user = self._accounts.current().find_user(token.user)
        if user is None or not user.enabled or not hmac.compare_digest(token.fingerprint, fingerprint(user.password)):
            raise Unauthenticated("the token is not valid any more")
        return token, user

    def _issue(self, user: User, scope: ScopeAsk, methods: tuple[str, ...], expires_at: datetime) -> tuple[str, Grant]:
        place = scoped_project(self._accounts.current(), user, scope)
        token = Token(
            id=uuid4().hex,
            user=user.id,
            project=place.id if place is not None else "",
            fingerprint=fingerprint(user.password),
            methods=methods,
            issued_at=self._now(),
            expires_at=expires_at,
        )
        return self._keys.seal(token), self._grant(token, user)

    def _grant(self, token: Token, user: User) -> Grant:
        accounts = self._accounts.current()
        project, roles = None, accounts.roles_of(user.id, token.project)
        if token.project:
            place = accounts.find_project(token.project)
            if place is None or not roles:
                raise Unauthenticated("the token is not valid any more")
            project = Project(place.id, place.name)
        return Grant(token.id, user.id, user.name, project, roles, token.methods, token.issued_at, token.expires_at)


def scoped_project(accounts: Accounts, user: User, scope: ScopeAsk) -> AccountProject | None:
    """The project asked for, else the user's first; None for no scope. Unauthenticated without a role there."""
    if scope.unscoped:
        return None
    if scope.project is None:
        return next(iter(accounts.projects_of(user.id)), None)
    place = accounts.find_project(scope.project)
    if place is None or not accounts.roles_of(user.id, place.id):
        raise Unauthenticated("the user has no role in such a project")
    return place


def accounts_path(settings: Settings) -> Path:
    """Where the accounts are."""
    named = settings.identity.accounts_file
    return Path(named) if named else Path(settings.core.directory) / "accounts.yaml"


def _wrong() -> Unauthenticated:
    return Unauthenticated("the user name or the password is wrong")

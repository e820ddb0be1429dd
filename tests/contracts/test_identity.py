"""What every adapter of `cloud.interfaces.Identity` does."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from krater.cloud.interfaces import Identity, PasswordCredentials, ScopeAsk, TokenCredentials
from krater.errors import Unauthenticated
from tests.support.accounts import Household

pytestmark = pytest.mark.looptime


@dataclass
class Subject:
    """The adapter, and how its users get and lose tokens. `ann` has the password `pie` and two projects."""

    identity: Identity
    token: Callable[[str], Awaitable[str]]
    revoke: Callable[[str], Awaitable[None]]
    pass_time: Callable[[float], None]
    token_lifetime: float
    cache_time: float


@pytest.fixture(params=["local"])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Subject:
    assert request.param == "local"
    home = Household(tmp_path)
    elsewhere = home.restarted()

    async def token(project: str) -> str:
        return (await elsewhere.log_in("ann", "pie", "192.0.2.1", ScopeAsk(project)))[0]

    settings = home.settings
    return Subject(
        home.identity, token, elsewhere.revoke, home.clock.move, settings.token_lifetime, settings.cache_time
    )


async def test_a_token_and_a_password_prove_the_same_caller(subject: Subject) -> None:
    by_token = await subject.identity.authenticate(TokenCredentials(await subject.token("kitchen")))
    by_password = await subject.identity.authenticate(PasswordCredentials("ann", "pie", "kitchen"))
    assert (by_token.user_id, by_token.project_id, by_token.roles) == (
        by_password.user_id,
        by_password.project_id,
        by_password.roles,
    )
    assert "member" in by_token.roles
    assert by_token.token_id
    assert by_token.expires_at is not None


async def test_a_user_is_known_by_id_too(subject: Subject) -> None:
    caller = await subject.identity.authenticate(PasswordCredentials("ann", "pie"))
    again = await subject.identity.authenticate(PasswordCredentials(caller.user_id, "pie", caller.project_id))
    assert again == caller


async def test_two_projects_of_one_user_are_two_callers(subject: Subject) -> None:
    kitchen = await subject.identity.authenticate(TokenCredentials(await subject.token("kitchen")))
    cellar = await subject.identity.authenticate(TokenCredentials(await subject.token("cellar")))
    assert kitchen.project_id != cellar.project_id
    assert kitchen.roles != cellar.roles


@pytest.mark.parametrize(
    "credentials",
    [
        PasswordCredentials("ann", "wrong"),
        PasswordCredentials("nobody", "pie"),
        PasswordCredentials("", ""),
        PasswordCredentials("ann", "pie", "admin"),
        PasswordCredentials("ann", "pie", "nowhere"),
        TokenCredentials("junk"),
        TokenCredentials(""),
    ],
)
async def test_bad_credentials_are_refused(
    subject: Subject, credentials: PasswordCredentials | TokenCredentials
) -> None:
    with pytest.raises(Unauthenticated):
        await subject.identity.authenticate(credentials)


async def test_an_expired_token_is_refused(subject: Subject) -> None:
    token = await subject.token("kitchen")
    await subject.identity.authenticate(TokenCredentials(token))
    subject.pass_time(subject.token_lifetime)
    with pytest.raises(Unauthenticated):
        await subject.identity.authenticate(TokenCredentials(token))


async def test_a_revoked_token_is_refused_within_the_cache_time(subject: Subject) -> None:
    token = await subject.token("kitchen")
    await subject.identity.authenticate(TokenCredentials(token))
    await subject.revoke(token)
    subject.pass_time(subject.cache_time)
    with pytest.raises(Unauthenticated):
        await subject.identity.authenticate(TokenCredentials(token))

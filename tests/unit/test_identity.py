"""Logging in to an embedded Krater: what is believed, for how long, and how guessing is slowed down."""

import asyncio
from pathlib import Path

import pytest

from krater.cloud.interfaces import Caller, PasswordCredentials, ScopeAsk, TokenCredentials
from krater.cloud.local.accounts import remove_user, set_password, unassign
from krater.cloud.local.attempts import PAIR, PEER, USER, Attempts
from krater.cloud.local.passwords import Passwords
from krater.cloud.local.tokens import TokenKeys
from krater.errors import Unauthenticated, Unavailable
from tests.support.accounts import Household

pytestmark = pytest.mark.looptime

PEER_ADDRESS = "192.0.2.1"


@pytest.fixture
def home(tmp_path: Path) -> Household:
    return Household(tmp_path)


async def basic(
    home: Household, user: str, password: str, project: str | None = None, peer: str = PEER_ADDRESS
) -> Caller:
    return await home.identity.authenticate(PasswordCredentials(user, password, project, peer))


async def token(home: Household, project: str | None = None) -> str:
    text, _ = await home.identity.log_in("ann", "pie", PEER_ADDRESS, ScopeAsk(project))
    return text


async def by_token(home: Household, text: str) -> Caller:
    return await home.identity.authenticate(TokenCredentials(text))


async def test_the_right_password_is_believed(home: Household) -> None:
    caller = await basic(home, "ann", "pie")
    assert (caller.user_name, caller.project_name, caller.roles) == ("ann", "kitchen", ("member", "reader"))


async def test_a_wrong_password_and_an_unknown_user_are_told_the_same_and_cost_the_same(home: Household) -> None:
    with pytest.raises(Unauthenticated) as wrong:
        await basic(home, "ann", "cake")
    with pytest.raises(Unauthenticated) as unknown:
        await basic(home, "nobody", "cake")
    assert wrong.value.message == unknown.value.message
    assert home.passwords.checked == 2


async def test_a_user_of_two_projects_chooses_and_sees_only_one(home: Household) -> None:
    kitchen, cellar = await basic(home, "ann", "pie", "kitchen"), await basic(home, "ann", "pie", "cellar")
    assert kitchen.project_id != cellar.project_id
    assert cellar.roles == ("reader",)
    assert (await basic(home, "ann", "pie", cellar.project_id)).project_name == "cellar"
    with pytest.raises(Unauthenticated):
        await basic(home, "ann", "pie", "admin")


async def test_a_right_password_is_checked_once_and_remembered_while_it_is_used(home: Household) -> None:
    for _ in range(5):
        await basic(home, "ann", "pie")
        home.clock.move(home.settings.cache_time * 0.9)
    assert home.passwords.checked == 1
    home.clock.move(home.settings.cache_time)
    await basic(home, "ann", "pie")
    assert home.passwords.checked == 2


async def test_requests_that_come_together_are_one_check(home: Household) -> None:
    callers = await asyncio.gather(*(basic(home, "ann", "pie") for _ in range(20)))
    assert (len(set(callers)), home.passwords.checked) == (1, 1)


async def test_a_changed_password_ends_what_was_remembered_and_every_token(home: Household) -> None:
    await basic(home, "ann", "pie")
    text = await token(home)
    await by_token(home, text)
    home.file.edit(lambda held: set_password(held, "ann", home.passwords.hash("tart")))
    with pytest.raises(Unauthenticated):
        await basic(home, "ann", "pie")
    with pytest.raises(Unauthenticated):
        await by_token(home, text)
    assert (await basic(home, "ann", "tart")).user_name == "ann"


async def test_a_removed_user_and_a_lost_role_count_at_once(home: Household) -> None:
    cellar, kitchen = await token(home, "cellar"), await token(home, "kitchen")
    home.file.edit(lambda held: unassign(held, "ann", "cellar"))
    with pytest.raises(Unauthenticated):
        await by_token(home, cellar)
    await by_token(home, kitchen)
    home.file.edit(lambda held: remove_user(held, "ann"))
    with pytest.raises(Unauthenticated):
        await by_token(home, kitchen)


async def test_a_token_says_who_and_survives_a_restart(home: Household) -> None:
    text = await token(home)
    caller = await by_token(home, text)
    assert (caller.user_name, caller.project_name) == ("ann", "kitchen")
    assert caller.token_id
    assert await home.restarted().authenticate(TokenCredentials(text)) == caller


async def test_an_expired_token_is_refused_even_when_it_was_remembered(home: Household) -> None:
    text = await token(home)
    home.clock.move(home.settings.token_lifetime - 1)
    await by_token(home, text)
    home.clock.move(1)
    with pytest.raises(Unauthenticated, match="expired"):
        await by_token(home, text)


async def test_a_revoked_token_is_refused_here_at_once_and_elsewhere_within_the_cache_time(home: Household) -> None:
    text = await token(home)
    other = home.restarted()
    await other.authenticate(TokenCredentials(text))
    await by_token(home, text)
    await home.identity.revoke(text)
    with pytest.raises(Unauthenticated, match="revoked"):
        await by_token(home, text)
    home.clock.move(home.settings.cache_time)
    with pytest.raises(Unauthenticated, match="revoked"):
        await other.authenticate(TokenCredentials(text))


async def test_a_token_that_is_used_often_asks_the_store_once(home: Household) -> None:
    text = await token(home)
    for _ in range(10):
        await by_token(home, text)
    assert home.store.asked == 1


async def test_a_tampered_token_is_refused(home: Household) -> None:
    text = await token(home)
    for position in range(0, len(text), 7):
        changed = text[:position] + ("A" if text[position] != "A" else "B") + text[position + 1 :]
        with pytest.raises(Unauthenticated):
            await by_token(home, changed)


@pytest.mark.parametrize("text", ["", "x", "=", "a" * 10_000, "ü", "gAAAA\n", "\x00"])
async def test_what_is_no_token_is_refused(home: Household, text: str) -> None:
    with pytest.raises(Unauthenticated):
        await by_token(home, text)


async def test_a_token_of_another_krater_is_refused(home: Household, tmp_path: Path) -> None:
    text = await token(home)
    home.keys = TokenKeys.load(tmp_path / "others.keys")
    with pytest.raises(Unauthenticated):
        await home.restarted().authenticate(TokenCredentials(text))


async def test_keys_can_be_rotated_without_ending_tokens(home: Household, tmp_path: Path) -> None:
    text = await token(home)
    new = tmp_path / "new.keys"
    TokenKeys.load(new)
    new.write_text(new.read_text() + (tmp_path / "token.keys").read_text())
    home.keys = TokenKeys.load(new)
    assert (await home.restarted().authenticate(TokenCredentials(text))).user_name == "ann"


async def test_an_unscoped_token_is_good_for_another_token_only(home: Household) -> None:
    text, grant = await home.identity.log_in("ann", "pie", PEER_ADDRESS, ScopeAsk(unscoped=True))
    assert (grant.project, grant.roles) == (None, ())
    with pytest.raises(Unauthenticated):
        await by_token(home, text)
    home.clock.move(100)
    scoped, regrant = await home.identity.exchange(text, ScopeAsk("cellar"))
    assert (await by_token(home, scoped)).project_name == "cellar"
    assert regrant.expires_at == grant.expires_at


# Slowing down --------------------------------------------------------------------------------------------------------


async def fail(home: Household, user: str = "ann", peer: str = PEER_ADDRESS) -> Unauthenticated:
    with pytest.raises(Unauthenticated) as refusal:
        await basic(home, user, f"guess {home.passwords.checked}", peer=peer)
    return refusal.value


async def test_guessing_is_slowed_down_and_refused_tries_are_not_looked_at(home: Household) -> None:
    for _ in range(PAIR.free + 1):
        assert (await fail(home)).retry_after is None
    checked = home.passwords.checked
    refused = await fail(home)
    assert refused.retry_after is not None
    assert home.passwords.checked == checked
    with pytest.raises(Unauthenticated):
        await basic(home, "ann", "pie")
    await asyncio.sleep(refused.retry_after)
    assert (await basic(home, "ann", "pie")).user_name == "ann"


async def test_delays_double_up_to_a_cap(home: Household) -> None:
    delays = []
    for _ in range(12):
        while (refused := await fail(home)).retry_after is not None:
            delays.append(round(refused.retry_after, 3))
            await asyncio.sleep(refused.retry_after)
    assert delays[:4] == [0.5, 1.0, 2.0, 4.0]
    assert max(delays) == PAIR.most


async def test_a_thousand_tries_at_once_count_a_thousand(home: Household) -> None:
    guesses = (basic(home, "ann", f"guess {n}") for n in range(1000))
    ends = await asyncio.gather(*guesses, return_exceptions=True)
    assert all(isinstance(end, Unauthenticated) for end in ends)
    assert home.passwords.checked == PAIR.free + 1


async def test_others_cannot_lock_a_user_out_only_slow_them_down(home: Household) -> None:
    for number in range(50):
        await fail(home, peer=f"198.51.100.{number}")
    before = asyncio.get_running_loop().time()
    assert (await basic(home, "ann", "pie")).user_name == "ann"
    assert asyncio.get_running_loop().time() - before <= USER.most


async def test_a_peer_that_tries_many_users_is_slowed_down(home: Household) -> None:
    for number in range(PEER.free + 1):
        await fail(home, user=f"user {number}")
    assert (await fail(home, user="one more")).retry_after is not None
    assert (await basic(home, "ann", "pie", peer="203.0.113.9")).user_name == "ann"


async def test_who_is_remembered_is_not_slowed_down_by_others_at_the_same_address(home: Household) -> None:
    await basic(home, "ann", "pie")
    for _ in range(PAIR.free + 3):
        await fail(home)
    assert (await basic(home, "ann", "pie")).user_name == "ann"


def test_the_memory_of_failures_is_bounded_and_fades() -> None:
    attempts = Attempts(most_remembered=30)
    for number in range(1000):
        attempts.begin(f"u{number}", f"p{number}", 0.0)
    assert len(attempts._counts) == 30
    for _ in range(PAIR.free + 1):
        attempts.begin("ann", "peer", 10.0)
    with pytest.raises(Unauthenticated):
        attempts.begin("ann", "peer", 10.1)
    assert attempts.begin("ann", "peer", 2000.0) == 0.0


@pytest.mark.looptime(False)
async def test_real_passwords_are_checked_and_the_queue_for_it_is_bounded() -> None:
    passwords = Passwords(time_cost=1, memory_cost=8, at_once=1, most_waiting=2)
    stored = passwords.hash("pie")
    assert stored.startswith("$argon2id$")
    assert await passwords.is_right(stored, "pie")
    assert not await passwords.is_right(stored, "cake")
    assert not await passwords.is_right(None, "pie")
    assert not await passwords.is_right("not a hash", "pie")
    ends = await asyncio.gather(*(passwords.is_right(stored, "pie") for _ in range(5)), return_exceptions=True)
    assert [type(end) for end in ends].count(Unavailable) == 3

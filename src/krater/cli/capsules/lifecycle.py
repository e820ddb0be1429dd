"""`krater capsule start`, `stop`, `restart`: of all members, or of one; ask, and wait until it is so."""

from collections.abc import Sequence
from dataclasses import dataclass

import click

from krater.cli.arguments import no_wait_option
from krater.cli.capsules.naming import capsules_argument
from krater.cli.capsules.words import name_of, trouble
from krater.cli.connection import pass_client
from krater.cli.lifecycle import PATIENCE, STARTED, STOPPED, timeout_option, wait_for
from krater.cli.progress import Progress
from krater.cli.waiting import Wait, ask_each
from krater.cli.words import name_of as member_name
from krater.client import Client, is_capsule_settled
from krater.client.capsule_answers import Capsule, members_of
from krater.client.capsules import Capsules
from krater.client.containers import Containers
from krater.client.naming import SLASH
from krater.client.watching import last_of


@click.command()
@capsules_argument
@no_wait_option
@pass_client
def start(client: Client, names: tuple[str, ...], no_wait: bool) -> int:
    """Start capsules, or single members."""
    return _each(client, names, _Request("start"), no_wait)


@click.command()
@capsules_argument
@timeout_option
@no_wait_option
@pass_client
def stop(client: Client, names: tuple[str, ...], timeout: int | None, no_wait: bool) -> int:
    """Stop capsules, the member first that started last, or single members; the others go on then."""
    return _each(client, names, _Request("stop", timeout), no_wait)


@click.command()
@capsules_argument
@timeout_option
@no_wait_option
@pass_client
def restart(client: Client, names: tuple[str, ...], timeout: int | None, no_wait: bool) -> int:
    """Restart capsules, or single members."""
    return _each(client, names, _Request("restart", timeout), no_wait)


@dataclass(frozen=True, slots=True)
class _Request:
    """What is asked of all that are named."""

    verb: str
    timeout: int | None = None

    @property
    def wanted(self) -> Sequence[str]:
        """The states that are meant."""
        return STOPPED if self.verb == "stop" else STARTED

    def ask(self, which: Capsules | Containers, uuid: str) -> None:
        """Ask it of a whole capsule, or of a member."""
        if self.verb == "start":
            which.start(uuid)
        elif self.verb == "stop":
            which.stop(uuid, timeout=self.timeout)
        else:
            which.restart(uuid, timeout=self.timeout)


def _each(client: Client, texts: Sequence[str], request: _Request, no_wait: bool) -> int:
    return ask_each(texts, lambda text: _ask(client, text, request), no_wait=no_wait)


def _ask(client: Client, text: str, request: _Request) -> tuple[str, Wait]:
    """Ask it of who is meant: what to call it, and how to wait for it."""
    if SLASH in text:
        member = client.capsules.find_member(text)
        request.ask(client.containers, member["uuid"])
        grace = request.timeout or 0
        return member_name(member), lambda progress: wait_for(client, member, request.wanted, progress, grace)
    capsule = client.capsules.find(text)
    request.ask(client.capsules, capsule["uuid"])
    return name_of(capsule), lambda progress: _wait_for_capsule(client, capsule, request, progress)


def _wait_for_capsule(client: Client, capsule: Capsule, request: _Request, progress: Progress) -> str | None:
    state = _settled(client, capsule, request.timeout, progress)
    is_well = state is not None and state["status"] in request.wanted
    return None if is_well else trouble(state, name_of(capsule))


def _settled(client: Client, capsule: Capsule, timeout: int | None, progress: Progress) -> Capsule | None:
    """Wait until nothing is being done to it; None when it is gone. After the time that all its members have one after
    the other, and PATIENCE, what it is by then."""
    grace = (capsule.get("grace") or 0) if timeout is None else timeout
    return last_of(
        client.capsules.watch(capsule["uuid"]),
        is_capsule_settled,
        PATIENCE + grace * len(members_of(capsule)),
        lambda state: progress.say(_progress_words(state)),
    )


def _progress_words(capsule: Capsule) -> str:
    reason = capsule["status_reason"]
    return f"{name_of(capsule)}: {capsule['status'].lower()}" + (f", {reason}" if reason else "")

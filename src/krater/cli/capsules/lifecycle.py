"""`krater capsule start`, `stop`, `restart`: of all members, or of one; ask, and wait until it is so."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import click

from krater.cli.arguments import no_wait_option
from krater.cli.capsules.naming import capsules_argument
from krater.cli.capsules.words import name_of, trouble
from krater.cli.connection import pass_client
from krater.cli.lifecycle import PATIENCE, STARTED, STOPPED, settled, timeout_option
from krater.cli.progress import Progress
from krater.cli.several import Several
from krater.cli.words import name_of as member_name
from krater.cli.words import trouble as member_trouble
from krater.client import Client, NotFound, is_capsule_settled
from krater.client.capsule_answers import Capsule, Member
from krater.client.naming import SLASH

Wait = Callable[[Progress], str | None]
"""Waits until nothing is being done, and says what is wrong then."""


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

    def ask_capsule(self, client: Client, uuid: str) -> None:
        """Ask it of a whole capsule."""
        if self.verb == "start":
            client.capsules.start(uuid)
        elif self.verb == "stop":
            client.capsules.stop(uuid, timeout=self.timeout)
        else:
            client.capsules.restart(uuid, timeout=self.timeout)

    def ask_member(self, client: Client, uuid: str) -> None:
        """Ask it of a member."""
        if self.verb == "start":
            client.containers.start(uuid)
        elif self.verb == "stop":
            client.containers.stop(uuid, timeout=self.timeout)
        else:
            client.containers.restart(uuid, timeout=self.timeout)


def _each(client: Client, texts: Sequence[str], request: _Request, no_wait: bool) -> int:
    """Ask for all, then wait for all, so that ten take as long as one. A failure does not keep the others from it."""
    asked, several = [], Several()
    for text in texts:
        with several.one():
            asked.append(_ask(client, text, request))
    with Progress() as progress:
        for name, trouble_of in asked:
            wrong = None if no_wait else trouble_of(progress)
            progress.clear()
            if wrong is not None:
                several.fails(wrong)
            else:
                print(name, flush=True)
    return several.code


def _ask(client: Client, text: str, request: _Request) -> tuple[str, Wait]:
    """Ask it of who is meant: what to call it, and how to wait for it."""
    if SLASH in text:
        member = client.capsules.find_member(text)
        request.ask_member(client, member["uuid"])
        return member_name(member), lambda progress: _wait_for_member(client, member, request, progress)
    capsule = client.capsules.find(text)
    request.ask_capsule(client, capsule["uuid"])
    return name_of(capsule), lambda progress: _wait_for_capsule(client, capsule, request, progress)


def _wait_for_member(client: Client, member: Member, request: _Request, progress: Progress) -> str | None:
    state = settled(client, member, progress)
    is_well = state is not None and state["status"] in request.wanted
    return None if is_well else member_trouble(state, member_name(member))


def _wait_for_capsule(client: Client, capsule: Capsule, request: _Request, progress: Progress) -> str | None:
    state = _settled(client, capsule, progress)
    is_well = state is not None and state["status"] in request.wanted
    return None if is_well else trouble(state, name_of(capsule))


def _settled(client: Client, capsule: Capsule, progress: Progress) -> Capsule | None:
    """Wait until nothing is being done to it; None when it is gone. After grace and PATIENCE, what it is by then."""
    end = time.monotonic() + PATIENCE + (capsule.get("grace") or 0)
    try:
        for state in client.capsules.watch(capsule["uuid"]):
            if is_capsule_settled(state) or time.monotonic() > end:
                return state
            reason = state["status_reason"]
            progress.say(f"{name_of(state)}: {state['status'].lower()}" + (f", {reason}" if reason else ""))
    except NotFound:
        pass
    return None

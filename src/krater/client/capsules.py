"""Capsules: several containers that are one."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, cast

from krater.client.answers import Action
from krater.client.capsule_answers import Capsule, Member, members_of
from krater.client.errors import Conflict, NotAllowed, NotFound, NotSettled, NotThere
from krater.client.naming import SLASH, beginning_so
from krater.client.session import Params, Session, segment
from krater.client.states import is_capsule_over, is_capsule_settled, is_id
from krater.client.watching import last_of, watched

Actions = list[Action]  # `list` is a method below
Members = list[Member]
Found = list[Capsule]

NO_CAPSULE, NO_MEMBER = "client.capsule-not-found", "client.member-not-found"
_PAGE = 100
_URL = "/v1/capsules"


class Capsules:
    """Capsules of the caller's project. A capsule is named by its id or its name.

    Members are containers: `containers.logs`, `execute`, `stop` and so on take their ids.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def list(self, *, all_projects: bool = False, filters: Mapping[str, str | Sequence[str]] | None = None) -> Found:
        """All capsules with their members, oldest first, however many pages that takes.

        `filters` are name, status and labels ("KEY=VALUE"; of several, all have to match).
        """
        params: dict[str, str | bool | list[str] | None] = {"all_projects": all_projects or None}
        for key, value in (filters or {}).items():
            params[key] = value if isinstance(value, str) else [*value]
        return [*self._session.pages(_URL, "capsules", params, page=_PAGE)]

    def list_if_any(self) -> Found:
        """The same, and none where the server has no such thing or the caller may not see them."""
        try:
            return self.list()
        except (NotFound, NotThere, NotAllowed):
            return []

    def show(self, capsule: str) -> Capsule:
        """One capsule, by id or name."""
        return cast(Capsule, self._session.get(_path(capsule)))

    def find(self, text: str) -> Capsule:
        """One capsule by id, name, or the beginning of its id when only one begins so."""
        try:
            return self.show(text)
        except NotFound as error:
            found = beginning_so(self.list(), text) if is_id(text) else None
            if found is None:
                raise NotFound(f"There is no capsule {text}.", status=404, code=NO_CAPSULE) from error
            return found

    def find_member(self, text: str) -> Member:
        """A member of a capsule, as CAPSULE/MEMBER: each by name, id, or the beginning of its id."""
        whole, _, name = text.partition(SLASH)
        capsule = self.find(whole)
        members = members_of(capsule)
        found = next((member for member in members if name in (member["member_name"], member["uuid"])), None)
        if found is None and is_id(name):
            found = beginning_so(members, name)
        if found is None:
            known = ", ".join(member["member_name"] for member in members)
            raise NotFound(f"{whole} has no member {name!r}; it has: {known}.", status=404, code=NO_MEMBER)
        return found

    def members(self, capsule: str) -> Members:
        """Its members, in the order they start."""
        return cast(Members, [*self._session.pages("/v1/containers", "containers", {"capsule": capsule})])

    def create(self, template: Mapping[str, object] | str) -> Capsule:
        """Make a capsule and start it. Answers at once; `watch` and `wait` tell how it goes on.

        The template is an object, or a text of YAML or JSON.
        """
        return cast(Capsule, self._session.post(_URL, body={"template": template}))

    def delete(self, capsule: str, *, timeout: int | None = None) -> None:
        """Remove it with all its members, whatever it does, in the background.

        `timeout` shortens the seconds that each member has to end (0: none at all), also of a removal under way.
        """
        self._session.ask("DELETE", _path(capsule), {"timeout": timeout})

    def start(self, capsule: str) -> None:
        """Start its members, in their order."""
        self._act(capsule, "start")

    def stop(self, capsule: str, *, timeout: int | None = None) -> None:
        """Ask its members to end, the last one first, and kill those that are left after `timeout` seconds."""
        self._act(capsule, "stop", {"timeout": timeout})

    def restart(self, capsule: str, *, timeout: int | None = None) -> None:
        """Stop what runs, and start all of it."""
        self._act(capsule, "reboot", {"timeout": timeout})

    def actions(self, capsule: str) -> Actions:
        """What was asked of it and of its members, newest first; `container_uuid` tells whose it is."""
        return cast(Actions, self._session.get(_path(capsule) + "/container_actions")["containerActions"])

    def action(self, capsule: str, request_id: str) -> Action:
        """One thing asked of it, with the steps it took."""
        return cast(Action, self._session.get(f"{_path(capsule)}/container_actions/{segment(request_id)}"))

    def watch(self, capsule: str, *, sleep: Callable[[float], None] = time.sleep) -> Iterator[Capsule]:
        """Its state, again and again, less often as time goes by. Ends with NotFound when it is gone."""
        return watched(lambda: self.show(capsule), sleep)

    def wait(
        self, capsule: str, until: Literal["settled", "running", "over", "gone"] = "settled", *, timeout: float = 300.0
    ) -> Capsule | None:
        """Wait until nothing is being done to it, until it runs, until it has ended for good, or until it is removed.

        One that has ended or failed is returned however long `running` would take; its status tells. None when it is
        gone. NotSettled after `timeout` seconds.
        """
        last = last_of(self.watch(capsule), lambda state: _is(until, state), timeout)
        if last is not None and not _is(until, last):
            words = f"{last['status']}: {last['status_reason']}" if last["status_reason"] else last["status"]
            raise NotSettled(f"{last['name'] or capsule} is not {until} after {timeout:g} seconds: {words}")
        return last

    def _act(self, capsule: str, action: str, params: Params | None = None) -> None:
        self._session.post(f"{_path(capsule)}/{action}", params)


def refuse_capsules(capsules: Sequence[Capsule], text: str) -> None:
    """Conflict when the text, which should name a container, names one of these capsules."""
    for capsule in capsules:
        if text in (capsule["name"], capsule["uuid"]):
            known = ", ".join(f"{text}{SLASH}{member['member_name']}" for member in members_of(capsule))
            raise Conflict(f"{text} is a capsule, not a container. Its members are: {known}.", status=409)


def _is(until: str, state: Capsule) -> bool:
    if until == "settled":
        return is_capsule_settled(state)
    if until == "running" and state["status"] == "Running":
        return True
    return until in ("running", "over") and is_capsule_over(state)


def _path(capsule: str) -> str:
    return f"{_URL}/{segment(capsule)}"

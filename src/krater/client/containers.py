"""Containers."""

import shlex
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Literal, Unpack, cast

from krater.client.answers import Action, Attachment, Container, Executed, NewContainer, Processes, Stats
from krater.client.capsule_answers import members_of
from krater.client.capsules import Capsules, refuse_capsules
from krater.client.console import Console
from krater.client.errors import NotFound, NotSettled
from krater.client.following import Question, follow
from krater.client.naming import SLASH, beginning_so
from krater.client.session import Params, Session, segment
from krater.client.states import is_id, is_over, is_settled
from krater.client.watching import last_of, never, watched

Actions = list[Action]  # `list` is a method below
Attachments = list[Attachment]

CURSOR_HEADER, WAIT_HEADER = "X-Krater-Log-Cursor", "X-Krater-Log-Wait"
STREAM_PIECE = 64 * 1024


class Containers:
    """Containers of the caller's project, members of capsules too. A container is named by its id or its name."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._capsules = Capsules(session)

    def list(
        self, *, all_projects: bool = False, filters: Mapping[str, str | Sequence[str]] | None = None
    ) -> list[Container]:
        """All containers, oldest first, however many pages that takes.

        `filters` are exact: name, image, status, host, task_state, memory, ...; of several values one has to match.
        Members of capsules are not among them, but for `capsule`: those of this one, in the order they start.
        """
        params: dict[str, str | bool | list[str] | None] = {"all_projects": all_projects or None}
        for key, value in (filters or {}).items():
            params[key] = value if isinstance(value, str) else [*value]
        return list(self._session.pages("/v1/containers", "containers", params))

    def show(self, container: str) -> Container:
        """One container, by id or name."""
        return cast(Container, self._session.get(_path(container)))

    def find(self, text: str) -> Container:
        """One container by id, name, or the beginning of its id when only one begins so; CAPSULE/MEMBER is a member."""
        if SLASH in text:
            return self._capsules.find_member(text)
        try:
            return self.show(text)
        except NotFound:
            capsules = self._capsules.list_if_any()
            if is_id(text):
                members = [member for capsule in capsules for member in members_of(capsule)]
                found = beginning_so([*self.list(), *members], text)
                if found is not None:
                    return found
            refuse_capsules(capsules, text)
            raise

    def create(self, *, run: bool = False, **wanted: Unpack[NewContainer]) -> Container:
        """Make a container, and start it if `run`. Answers at once; `watch` and `settled` tell how it goes on."""
        return cast(Container, self._session.post("/v1/containers", {"run": run or None}, dict(wanted)))

    def run(self, **wanted: Unpack[NewContainer]) -> Container:
        """Make a container and start it. Answers at once."""
        return self.create(run=True, **wanted)

    def update(
        self,
        container: str,
        *,
        cpu: float | None = None,
        memory: int | None = None,
        name: str | None = None,
        auto_heal: bool | None = None,
    ) -> Container:
        """Change the limits (cores, MiB), the name, or whether it is healed. What is None stays."""
        wanted = {"cpu": cpu, "memory": memory, "name": name, "auto_heal": auto_heal}
        changes = {key: value for key, value in wanted.items() if value is not None}
        return cast(Container, self._session.ask("PATCH", _path(container), body=changes))

    def rename(self, container: str, name: str) -> Container:
        """Give it another name."""
        return self.update(container, name=name)

    def delete(self, container: str, *, stop: bool = False, force: bool = False) -> None:
        """Remove it, in the background. `stop` stops it first if it runs; `force` is for administrators."""
        self._session.ask("DELETE", _path(container), {"stop": stop or None, "force": force or None})

    def start(self, container: str) -> None:
        """Start its process."""
        self._act(container, "start")

    def stop(self, container: str, *, timeout: int | None = None) -> None:
        """Ask its process to end, and kill it after `timeout` seconds."""
        self._act(container, "stop", {"timeout": timeout})

    def restart(self, container: str, *, timeout: int | None = None) -> None:
        """Stop it if it runs, and start it."""
        self._act(container, "reboot", {"timeout": timeout})

    def rebuild(self, container: str, *, image: str | None = None, image_driver: str | None = None) -> None:
        """Make it anew from its image, or another, keeping id and addresses."""
        self._act(container, "rebuild", {"image": image, "image_driver": image_driver})

    def pause(self, container: str) -> None:
        """Freeze its processes."""
        self._act(container, "pause")

    def unpause(self, container: str) -> None:
        """Thaw its processes."""
        self._act(container, "unpause")

    def kill(self, container: str, *, signal: str | None = None) -> None:
        """Send a signal (by name or number; SIGKILL) to its first process."""
        self._act(container, "kill", {"signal": signal})

    def logs(
        self,
        container: str,
        *,
        stdout: bool = True,
        stderr: bool = True,
        timestamps: bool = False,
        tail: str | None = None,
        since: str | None = None,
    ) -> str:
        """What it wrote. `tail` is a number of lines, `since` seconds since 1970.

        Also of a container that was removed, by its whole id or its name, for as long as its log is kept.
        """
        params: Params = {
            "stdout": stdout,
            "stderr": stderr,
            "timestamps": timestamps,
            "tail": tail,
            "since": since,
        }
        return self._session.get(_path(container) + "/logs", params) or ""

    def follow(
        self,
        container: str,
        *,
        timestamps: bool = False,
        tail: str | None = None,
        since: str | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> Iterator[str]:
        """Pieces of what it writes, as it writes it, until it is over."""
        return follow(
            lambda: is_over(self.show(container)),
            lambda question: self._read_log(container, question),
            tail=tail,
            since=since,
            timestamps=timestamps,
            sleep=sleep,
        )

    def stream_logs(
        self,
        container: str,
        *,
        stdout: bool = True,
        stderr: bool = True,
        timestamps: bool = False,
        tail: str | None = None,
        since: str | None = None,
        follow: bool = True,
    ) -> Generator[bytes, None, None]:
        """The bytes it wrote and, if `follow`, writes, in one answer that ends when it is over. Krater's own.

        Unlike `follow`, it breaks off (Unreachable) when the server restarts, and needs the client's connection for
        itself: until it has ended or was closed, ask for other things with another `Client`.
        """
        params: Params = {
            "stdout": stdout,
            "stderr": stderr,
            "timestamps": timestamps,
            "tail": tail,
            "since": since,
            "follow": follow,
        }
        with self._session.stream("GET", _path(container) + "/logs/stream", params) as answer:
            answer.wait_for_ever()
            while piece := answer.read_some(STREAM_PIECE):
                yield piece

    def _read_log(self, container: str, question: Question) -> tuple[str, str | None]:
        """The cursor travels in headers: other servers of this API refuse query keys they do not know."""
        params = {"tail": question.tail, "since": question.since, "timestamps": question.timestamps}
        extra = {CURSOR_HEADER: question.cursor or "", WAIT_HEADER: f"{question.wait:g}"}
        text, headers = self._session.exchange("GET", _path(container) + "/logs", params, extra=extra)
        return text or "", headers.get(CURSOR_HEADER.lower()) or None

    def execute(self, container: str, command: str | Sequence[str]) -> Executed:
        """Run a command inside it and wait for its end. A sequence is quoted so that it arrives word for word."""
        words = command if isinstance(command, str) else shlex.join(command)
        body = {"command": words, "run": True, "interactive": False}
        return cast(Executed, self._session.post(_path(container) + "/execute", body=body))

    def attach(self, container: str) -> Console:
        """Talk to its first process. It goes on when the console is closed."""
        url = self._session.get(_path(container) + "/attach")
        return Console(str(url), cacert=self._session.cacert)

    def open_exec(
        self, container: str, command: str | Sequence[str], *, tty: bool = False, size: tuple[int, int] | None = None
    ) -> Console:
        """Start a command inside it to talk to, at a terminal of its own (of `size` rows and columns) if `tty`."""
        words = command if isinstance(command, str) else shlex.join(command)
        body: dict[str, object] = {"command": words, "run": False, "interactive": True, "tty": tty}
        if size is not None:
            body |= {"h": size[0], "w": size[1]}
        opened = cast(Executed, self._session.post(_path(container) + "/execute", body=body))
        return Console(opened["proxy_url"] or "", exec_id=opened["exec_id"] or "", cacert=self._session.cacert)

    def networks(self, container: str) -> Attachments:
        """The networks it is on."""
        return cast(Attachments, self._session.get(_path(container) + "/network_list")["networks"])

    def attach_network(
        self, container: str, network: str | None = None, *, port: str | None = None, fixed_ip: str | None = None
    ) -> None:
        """Put it on one more network, or bring a port of yours; without either, on the default network."""
        self._act(container, "network_attach", {"network": network, "port": port, "fixed_ip": fixed_ip})

    def detach_network(self, container: str, network: str | None = None, *, port: str | None = None) -> None:
        """Take it off a network, or take out one port."""
        self._act(container, "network_detach", {"network": network, "port": port})

    def top(self, container: str, ps_args: str | None = None) -> Processes:
        """Its processes."""
        return cast(Processes, self._session.get(_path(container) + "/top", {"ps_args": ps_args}))

    def stats(self, container: str) -> Stats:
        """What it uses now."""
        return cast(Stats, self._session.get(_path(container) + "/stats"))

    def commit(self, container: str, repository: str, tag: str | None = None) -> str:
        """Make an image of it, in the background; the id of the image. `own_images.wait` tells when it is there."""
        answer = self._session.post(_path(container) + "/commit", {"repository": repository, "tag": tag})
        return str(answer["uuid"])

    def actions(self, container: str) -> Actions:
        """What was asked of it, newest first."""
        answer = self._session.get(_path(container) + "/container_actions")
        return cast(Actions, answer["containerActions"])

    def action(self, container: str, request_id: str) -> Action:
        """One thing asked of it, with the steps it took."""
        path = f"{_path(container)}/container_actions/{segment(request_id)}"
        return cast(Action, self._session.get(path))

    def watch(self, container: str, *, sleep: Callable[[float], None] = time.sleep) -> Iterator[Container]:
        """Its state, again and again, less often as time goes by. Ends with NotFound when it is gone."""
        return watched(lambda: self.show(container), sleep)

    def wait(
        self, container: str, until: Literal["settled", "over", "gone"] = "settled", *, timeout: float = 300.0
    ) -> Container | None:
        """Wait until nothing is being done to it, until its process has ended for good, or until it is removed.

        None when it is gone. NotSettled after `timeout` seconds.
        """
        is_so = {"settled": is_settled, "over": is_over, "gone": never}[until]
        last = last_of(self.watch(container), is_so, timeout)
        if last is not None and not is_so(last):
            raise NotSettled(f"{last['name']} is not {until} after {timeout:g} seconds: {last['status']}.")
        return last

    def _act(self, container: str, action: str, params: Params | None = None) -> None:
        self._session.post(f"{_path(container)}/{action}", params)


def _path(container: str) -> str:
    return "/v1/containers/" + segment(container)

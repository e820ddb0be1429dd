"""`krater run` and `create`."""

from typing import Any

import click

from krater.cli.connection import access_of, pass_client
from krater.cli.conversation import check_terminal, converse
from krater.cli.creation import creation_options, wanted
from krater.cli.detaching import DEFAULT, read_keys
from krater.cli.failures import FAILED, INTERRUPTED, NOT_RUN, complain, report
from krater.cli.interrupts import Interrupts
from krater.cli.lifecycle import settled
from krater.cli.logs import write
from krater.cli.progress import Progress
from krater.cli.remove import remove as remove_container
from krater.cli.tables import show_json
from krater.cli.words import addresses, progress_words, trouble
from krater.client import Client, ClientError, Conflict, NotFound, exit_code, is_settled
from krater.client.answers import Container

_SETTINGS = {"ignore_unknown_options": False, "allow_interspersed_args": False}

# How long to wait until a container that was to vanish with its end is gone.
REMOVAL_PATIENCE = 15.0


@click.command(context_settings=_SETTINGS)
@click.option("-d", "--detach", is_flag=True, help="Return once it runs, and print its id.")
@click.option("--rm", "remove", is_flag=True, help="Remove it once it ended.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="With -d: how to print it.")
@click.option("--detach-keys", metavar="KEYS", default=DEFAULT, show_default=True, help="What leaves a terminal.")
@creation_options
@pass_client
def run(
    client: Client,
    /,
    detach: bool,
    remove: bool,
    form: str,
    detach_keys: str,
    image: str,
    command: tuple[str, ...],
    **options: Any,
) -> int:
    """Run a container and follow its output until it ends; its exit code is then this command's.

    The exit code is 125 when it could not be run, 126 and 127 when its command could not be started or was not found.
    The first Ctrl-C stops the container, the second leaves it alone. With -i it gets your input, with -it a terminal,
    which Ctrl-P Ctrl-Q leaves.
    """
    keys = read_keys(detach_keys)
    _check(detach, remove, form, options)
    request = wanted(image, command, options)
    if remove and detach:
        request["auto_remove"] = True
    try:
        if detach:
            return _detached(client, client.containers.run(**request), form)
        return _Followed(client, remove=remove, keys=keys).run(request)
    except ClientError as error:
        report(error, access_of(click.get_current_context()))
        return NOT_RUN


def _check(detach: bool, remove: bool, form: str, options: dict[str, Any]) -> None:
    if not detach:
        check_terminal(options["tty"], options["interactive"])
    if form == "json" and not detach:
        raise click.UsageError("--format json goes with --detach: without it the container's output is printed.")
    if remove and options["restart"] not in (None, "no"):
        raise click.UsageError("--rm and --restart contradict each other.")


def _detached(client: Client, made: Container, form: str) -> int:
    """Wait until it runs, and say which one it is."""
    with Progress() as progress:
        state = _started(client, made, progress)
        if state is not None and state["status"] in ("Error", "Unknown", "Dead"):
            progress.clear()
            complain(trouble(state, made["name"]))
            return _code_of_failed_start(state)
        found = addresses(state) if state else []
        if progress.is_terminal and state is not None:
            progress.note(f"{state['name']} is {progress_words(state)}" + (f" at {', '.join(found)}" if found else ""))
    if form == "json":
        show_json(state or made)
    else:
        print(made["uuid"])
    return 0


def _started(client: Client, made: Container, progress: Progress, interrupts: Interrupts | None = None) -> Any:
    """Wait until its process was started, or will not be; None when it is gone already, as auto-removed ones may be."""
    pause = {"sleep": interrupts.sleep} if interrupts else {}
    try:
        for state in client.containers.watch(made["uuid"], **pause):
            if is_settled(state) and state["status"] != "Created":
                return state
            progress.say(f"{state['name']}: {progress_words(state)}")
    except NotFound:
        pass
    return None


def _code_of_failed_start(state: Container) -> int:
    """126 and 127 are a command that cannot be run or is not there; anything else is ours."""
    code = exit_code(state)
    return code if code in (126, 127) else NOT_RUN


class _Followed:
    """A container whose life is this command's: followed to its end, stopped when we are, removed if asked for."""

    def __init__(self, client: Client, *, remove: bool, keys: bytes = b"") -> None:
        self._client = client
        self._remove = remove
        self._keys = keys
        self._made: Container | None = None

    def run(self, request: Any) -> int:
        """The exit code of the whole command."""
        with Progress() as self._progress, Interrupts() as self._interrupts:
            try:
                self._made = self._client.containers.run(**request)
                self._interrupts.on_first = self._stop
                return self._to_its_end(self._made)
            except KeyboardInterrupt:
                if self._made is not None and not self._remove:
                    self._progress.note(f"krater: {self._made['name']} goes on without us.")
                return INTERRUPTED
            finally:
                self._clean_up()

    def _to_its_end(self, made: Container) -> int:
        state = _started(self._client, made, self._progress, self._interrupts)
        self._progress.clear()
        if state is not None and state["status"] in ("Error", "Unknown", "Dead"):
            self._progress.note(f"krater: {trouble(state, made['name'])}")
            return _code_of_failed_start(state)
        try:
            if made["interactive"] and not self._talk(made):
                return 0
            if not made["interactive"]:
                write(self._client.containers.follow(made["uuid"], sleep=self._interrupts.sleep))
            ended = self._client.containers.show(made["uuid"])
        except NotFound:
            self._progress.note(f"krater: {made['name']} was removed before it ended.")
            return FAILED
        except ClientError as error:
            report(error, access_of(click.get_current_context()))
            self._progress.note(f"  Nothing more is known of {made['name']}.")
            return FAILED
        return self._code(ended)

    def _talk(self, made: Container) -> bool:
        """Talk to it until it is over; False when the user left it, and it runs on."""
        try:
            console = self._client.containers.attach(made["uuid"])
            spoken = converse(console, tty=made["tty"], interactive=True, keys=self._keys, interrupts=self._interrupts)
        except Conflict:  # it has ended already: what it said is in its log
            write([self._client.containers.logs(made["uuid"])])
            return True
        if spoken.detached:
            self._remove = False
            self._progress.note(f"krater: {made['name']} goes on without us.")
            return False
        if spoken.refused:
            write([self._client.containers.logs(made["uuid"])])
        self._client.containers.wait(made["uuid"], "over")
        return True

    def _code(self, ended: Container) -> int:
        code = exit_code(ended)
        reason = ended["status_reason"] or ""
        if reason and code != 0 and not reason.endswith(f"exit code {code}."):  # that is ours now, and says it all
            self._progress.note(f"krater: {trouble(ended, ended['name'])}")
        if code is None:
            self._progress.note(f"krater: the exit code of {ended['name']} is not known.")
            return FAILED
        return code

    def _stop(self) -> None:
        """The first Ctrl-C."""
        if self._made is None:
            raise KeyboardInterrupt
        name = self._made["name"]
        self._progress.note(f"Stopping {name}. Press Ctrl-C again to leave it.")
        try:
            self._client.containers.stop(self._made["uuid"])
        except Conflict as error:  # it does not run yet, or no more
            raise KeyboardInterrupt from error
        except NotFound:
            pass

    def _clean_up(self) -> None:
        """With --rm we remove it ourselves, not the server at its end: its exit code is to be read before."""
        if not self._remove or self._made is None:
            return
        name, uuid = self._made["name"], self._made["uuid"]
        self._progress.say(f"{name}: being removed")
        try:
            remove_container(self._client, self._client.containers.show(uuid), force=True)
            self._client.containers.wait(uuid, "gone", timeout=REMOVAL_PATIENCE)
        except NotFound:
            pass
        except ClientError as error:
            self._progress.note(f"krater: {name} is still there: {error.title}")
            self._progress.note(f"  Remove it with `krater rm -f {name}`.")


@click.command(context_settings=_SETTINGS)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="How to print it.")
@creation_options
@pass_client
def create(client: Client, /, form: str, image: str, command: tuple[str, ...], **options: Any) -> int:
    """Make a container without starting it, and print its id. `krater start` starts it."""
    request = wanted(image, command, options)
    made = client.containers.create(**request)
    with Progress() as progress:
        state = settled(client, made, progress)
    if state is None or state["status"] != "Created":
        complain(trouble(state, made["name"]))
        return FAILED
    if form == "json":
        show_json(state)
    else:
        print(made["uuid"])
    return 0

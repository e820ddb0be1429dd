"""`krater kube`: Kubernetes Pod manifests, run as capsules."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from krater.cli.arguments import no_wait_option
from krater.cli.capsules.creation import brought_up
from krater.cli.capsules.files import FILE, Unreadable, load_all, read_text
from krater.cli.capsules.removal import grace_option, remove_each
from krater.cli.connection import pass_client
from krater.cli.failures import FAILED, INTERRUPTED, complain
from krater.cli.several import Several
from krater.cli.tables import safe
from krater.client import Client

_COPIES = "it looks after copies of a Pod, and a capsule is one. Make its template a document of kind Pod"
_REFUSED = {
    **dict.fromkeys(("Deployment", "ReplicaSet", "ReplicationController", "StatefulSet", "DaemonSet"), _COPIES),
    **dict.fromkeys(("Job", "CronJob"), _COPIES + " with restartPolicy OnFailure or Never"),
    **dict.fromkeys(
        ("Service", "Ingress", "NetworkPolicy"),
        "a capsule has addresses of its own, and its ports open its security group. Leave it out",
    ),
    **dict.fromkeys(
        ("ConfigMap", "Secret"), "put values into env; files are volumes with `file` in a template of a capsule"
    ),
    "PersistentVolumeClaim": "make the volume with `krater volume create NAME --size GIB`; Pods claim it by this name",
    "Namespace": "projects are what separates users here: `krater --project NAME kube play`",
}
_LISTS = ("List", "PodList")


@dataclass(frozen=True, slots=True)
class _Pod:
    """A Pod that can be a capsule."""

    name: str
    template: dict[str, Any]
    left_out: list[str]


@click.group()
def kube() -> None:
    """Run Kubernetes Pods as capsules."""


@kube.command()
@click.argument("file", type=FILE, metavar="FILE")
@click.option("--strict", is_flag=True, help="Make nothing when a field of a Pod cannot be honoured.")
@click.option("--wait/--no-wait", " /-d", default=True, help="Wait until all of it runs, as it does if not told.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="How to print it.")
@pass_client
def play(client: Client, file: Path, strict: bool, wait: bool, form: str) -> int:
    """Make capsules of the Pods in a manifest (`-`: stdin), start them, and print their ids.

    What a capsule cannot honour is left out and named on stderr. Other kinds than Pod are refused, and then nothing is
    made. `krater kube down FILE` removes the capsules.
    """
    pods = _read(file)
    if pods is None or not _may_be_made(client, file, pods, strict=strict):
        return FAILED
    made, several = [], Several()
    for pod in pods:
        with several.one():
            made.append(client.capsules.create(pod.template))
    code = several.code
    for capsule in made:
        ended = brought_up(client, capsule, form=form, wait=wait)
        if ended == INTERRUPTED:  # who has seen enough need not see the others
            return INTERRUPTED
        code = max(code, ended)
    return code


def _may_be_made(client: Client, file: Path, pods: list[_Pod], *, strict: bool) -> bool:
    """Name what cannot be honoured, and what is in the way."""
    from krater.cli.pods import told

    for pod in pods:
        for note in pod.left_out:
            print(safe(f"{file}: {pod.name}: {told(note)}"), file=sys.stderr)
    if strict and any(pod.left_out for pod in pods):
        complain("Nothing was made, since --strict was given and not all can be honoured as it is.")
        return False
    taken = [pod.name for pod in pods if _ids(client, pod.name)]
    if taken:
        called = file if str(file) != "-" else "FILE"
        there = "There are capsules" if len(taken) > 1 else "There is a capsule"
        complain(
            f"{there} called {', '.join(taken)} already. `krater kube down {called}` removes what has these names."
        )
    return not taken


@kube.command()
@click.argument("file", type=FILE, metavar="FILE")
@grace_option
@no_wait_option
@pass_client
def down(client: Client, file: Path, timeout: int | None, no_wait: bool) -> int:
    """Remove the capsules that have the names of the Pods in a manifest. What is gone already is fine."""
    pods = _read(file)
    if pods is None:
        return FAILED
    asked, code = [], 0
    for pod in pods:
        ids = _ids(client, pod.name)
        if len(ids) > 1:
            complain(f"{len(ids)} capsules are called {pod.name}. Remove by id what is meant: {', '.join(ids)}.")
            code = FAILED
        asked += ids if len(ids) == 1 else []
    return max(code, remove_each(client, asked, force=True, timeout=timeout, no_wait=no_wait))


def _ids(client: Client, name: str) -> list[str]:
    """The capsules of this name."""
    return [one["uuid"] for one in client.capsules.list(filters={"name": name}) if one["name"] == name]


def _read(file: Path) -> list[_Pod] | None:
    """All Pods of the file; None when there is something else, or something wrong: that was said then."""
    try:
        documents = [item for document in load_all(file, read_text(file)) for item in _items(document)]
    except Unreadable as error:
        complain(str(error))
        return None
    if not documents:
        complain(f"{file}: has no Pod in it.")
    pods: list[_Pod] = []
    for number, document in enumerate(documents, 1):
        try:
            pods.append(_pod(document, [pod.name for pod in pods]))
        except ValueError as error:
            complain(f"{file}: document {number}: {error}")
    return pods if pods and len(pods) == len(documents) else None


def _items(document: Any) -> list[Any]:
    """What a list has in it; anything else is itself."""
    if isinstance(document, dict) and document.get("kind") in _LISTS and isinstance(document.get("items"), list):
        return [*document["items"]]
    return [document]


def _pod(document: Any, names: list[str]) -> _Pod:
    """ValueError when it is none, or makes no capsule."""
    from krater.api.templates import read_template
    from krater.cli.pods import NotAPod, capsule_of
    from krater.errors import Invalid

    kind = document.get("kind") if isinstance(document, dict) else None
    if kind != "Pod":
        advice = _REFUSED.get(str(kind), "only Pods become capsules. Leave it out")
        raise ValueError(f"{_called(document)}: {advice}." if kind else "is no manifest: it has no kind.")
    try:
        template, left_out = capsule_of(document)
        read_template(template)
    except (NotAPod, Invalid, ValueError) as error:
        raise ValueError(f"{_called(document)}: {getattr(error, 'message', None) or error}") from None
    name = template["metadata"].get("name")
    if not name:
        raise ValueError("metadata.name: expected a name; `krater kube down` goes by it")
    if name in names:
        raise ValueError(f"metadata.name: {name} is the name of a Pod before it")
    return _Pod(name, template, left_out)


def _called(document: dict[str, Any]) -> str:
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return f"{document['kind']} {name}" if name else str(document["kind"])

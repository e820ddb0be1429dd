"""`krater kube play` and `down`: Pods become capsules, all of a file or none."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_api import Asked, FakeApi, capsule, member, refusal
from tests.support.terminal import Terminal

PODS = """
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  nodeName: rack
  containers: [{name: server, image: nginx}]
---
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Pod
  metadata: {name: db}
  spec:
    containers: [{name: server, image: postgres}]
---
"""


@pytest.fixture
def api(api: FakeApi) -> FakeApi:
    def make(asked: Asked) -> tuple[int, Any]:
        name = asked.body["template"]["metadata"]["name"]
        made = capsule(name, member("server"), uuid=f"{name}-id")
        api.capsules.append(made)
        return 202, made

    api.answers["POST /v1/capsules"] = make
    return api


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "pods.yaml"
    file.write_text(PODS)
    return file


def test_all_pods_of_a_file_become_capsules(api: FakeApi, krater: Terminal, file: Path) -> None:
    ended = krater("kube", "play", str(file))
    assert (ended.code, ended.out) == (0, "web-id\ndb-id\n")
    assert ended.err == f"{file}: web: spec.nodeName: left out, a capsule has no such thing\n"
    [web, db] = [asked.body["template"] for asked in api.asked("POST", "/capsules")]
    spec = {"containers": [{"image": "nginx", "name": "server"}], "terminationGracePeriodSeconds": 30}
    assert web == {"kind": "capsule", "metadata": {"name": "web"}, "spec": spec}
    assert db["spec"]["containers"] == [{"image": "postgres", "name": "server"}]


def test_what_looks_like_a_date_is_a_text(api: FakeApi, krater: Terminal, file: Path) -> None:
    dates = "{name: web, annotations: {built: 2026-01-05, at: 2026-01-05T10:11:12Z}}"
    file.write_text(PODS.replace("{name: web}", dates))
    assert krater("kube", "play", str(file)).code == 0
    annotations = api.asked("POST", "/capsules")[0].body["template"]["metadata"]["annotations"]
    assert annotations == {"built": "2026-01-05", "at": "2026-01-05T10:11:12Z"}


def test_a_pod_comes_from_standard_input_too(api: FakeApi, krater: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    pod = json.dumps({"kind": "Pod", "metadata": {"name": "web"}, "spec": {"containers": [{"image": "nginx"}]}})
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(pod.encode())))
    assert krater("kube", "play", "-d", "-").out == "web-id\n"


def test_strict_makes_nothing_of_what_cannot_be_honoured(api: FakeApi, krater: Terminal, file: Path) -> None:
    ended = krater("kube", "play", "--strict", str(file))
    assert (ended.code, ended.out, api.requests) == (1, "", [])
    assert "spec.nodeName: left out" in ended.err
    assert "Nothing was made" in ended.err


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        ("Deployment", "Make its template a document of kind Pod."),
        ("CronJob", "of kind Pod with restartPolicy"),
        ("Service", "addresses of its own"),
        ("Secret", "put values into env"),
        ("PersistentVolumeClaim", "krater volume create"),
        ("Gateway", "only Pods become capsules."),
    ],
)
def test_other_kinds_are_refused_by_name_with_advice(
    api: FakeApi, krater: Terminal, file: Path, kind: str, advice: str
) -> None:
    file.write_text(f"{PODS}kind: {kind}\nmetadata: {{name: thing}}\n")
    for verb in ("play", "down"):
        ended = krater("kube", verb, str(file))
        assert (ended.code, ended.out) == (1, "")
        assert f"document 3: {kind} thing: " in ended.err
        assert advice in ended.err
    assert api.requests == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no Pod in it"),
        ("a: [", "is not YAML"),
        ("- 1", "is no manifest"),
        ("kind: Pod\nspec: {containers: [{name: web, image: busybox}]}", "metadata.name: expected a name"),
        (
            "kind: Pod\nmetadata: {name: web}\nspec: {containers: []}",
            "Pod web: template.spec: 'containers' is a required",
        ),
        ("kind: Pod\nmetadata: {name: web}\nspec: {containers: {}}", "Pod web: spec.containers: expected a list"),
        (f"{PODS}{PODS.split('---', 1)[0]}", "metadata.name: web is the name of a Pod before it"),
    ],
)
def test_what_makes_no_sense_is_told_with_its_place_and_nothing_is_made(
    api: FakeApi, krater: Terminal, file: Path, text: str, words: str
) -> None:
    file.write_text(text)
    ended = krater("kube", "play", str(file))
    assert (ended.code, ended.out, api.requests) == (1, "", [])
    assert words in ended.err


def test_playing_twice_is_refused_with_what_to_do(api: FakeApi, krater: Terminal, file: Path) -> None:
    api.capsules = [capsule("db")]
    ended = krater("kube", "play", str(file))
    assert (ended.code, api.asked("POST", "/capsules")) == (1, [])
    assert f"There is a capsule called db already. `krater kube down {file}` removes" in ended.err


def test_one_that_is_refused_or_fails_keeps_the_others_from_nothing(api: FakeApi, krater: Terminal, file: Path) -> None:
    make = api.answers["POST /v1/capsules"]

    def refuse_web(asked: Asked) -> tuple[int, Any]:
        is_web = asked.body["template"]["metadata"]["name"] == "web"
        return refusal(403, "The quota is used up.") if is_web else make(asked)

    def fail(asked: Asked) -> tuple[int, Any]:
        status, made = make(asked)
        made.update(status="Error", status_reason="no room.")
        return status, made

    api.answers["POST /v1/capsules"] = refuse_web
    ended = krater("kube", "play", str(file))
    assert (ended.code, ended.out) == (1, "db-id\n")
    assert "The quota is used up." in ended.err
    api.capsules.clear()
    api.answers["POST /v1/capsules"] = fail
    ended = krater("kube", "play", str(file))
    assert (ended.code, ended.out) == (1, "")
    assert "web is Error: no room." in ended.err


def test_down_removes_what_has_the_names_and_nothing_else(api: FakeApi, krater: Terminal, file: Path) -> None:
    api.capsules = [capsule("web", uuid="aaaa"), capsule("other", uuid="db00-1")]
    ended = krater("kube", "down", str(file))
    assert (ended.code, ended.out, ended.err) == (0, "web\n", "")
    assert [one["name"] for one in api.capsules] == ["other"]


def test_down_takes_a_time_and_hurries_what_goes_already(api: FakeApi, krater: Terminal, file: Path) -> None:
    api.capsules = [capsule("web", uuid="aaaa"), capsule("db", uuid="bbbb", status="Deleting")]
    ended = krater("kube", "down", "--timeout", "3", str(file))
    assert (ended.code, ended.out, api.capsules) == (0, "web\ndb\n", [])
    assert [one.query for one in api.requests if one.method == "DELETE"] == [{"timeout": "3"}] * 2


def test_down_does_not_guess_which_of_several_is_meant(api: FakeApi, krater: Terminal, file: Path) -> None:
    api.capsules = [capsule("web", uuid="aaaa"), capsule("web", uuid="bbbb"), capsule("db", uuid="cccc")]
    ended = krater("kube", "down", str(file))
    assert (ended.code, ended.out) == (1, "db\n")
    assert "2 capsules are called web. Remove by id what is meant: aaaa, bbbb." in ended.err
    assert len(api.capsules) == 2

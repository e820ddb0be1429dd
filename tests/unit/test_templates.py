"""Capsule templates: what is read, and every refusal with its place."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from krater.api.templates import read_template, restart_name, unknown_keys
from krater.api.yaml_texts import read_yaml
from krater.errors import Invalid

Json = dict[str, Any]


def template(containers: Any = None, *, top: Json | None = None, **spec: Any) -> Json:
    """A template that is right, but for what is given."""
    members = [{"image": "busybox"}] if containers is None else containers
    return {"kind": "capsule", "metadata": {"name": "web"}, "spec": {"containers": members, **spec}, **(top or {})}


def one(**changes: Any) -> Json:
    return template([{"image": "busybox", **changes}])


def refusal(value: object) -> str:
    with pytest.raises(Invalid) as refused:
        read_template(value)
    assert refused.value.field
    return refused.value.message


FULL = template(
    [
        {
            "image": "nginx",
            "name": "server",
            "entrypoint": ["/bin/sh", "-c"],
            "command": ["nginx"],
            "args": ["-g", 5],
            "env": {"A": "1"},
            "workDir": "/srv",
            "resources": {"requests": {"cpu": "0.5", "memory": "128"}, "limits": {"cpu": 1, "memory": 256}},
            "ports": [{"containerPort": "80", "hostPort": 8080, "protocol": "TCP", "name": "http"}],
            "volumeMounts": [{"name": "content", "mountPath": "/usr/share", "readOnly": True}],
            "imagePullPolicy": "IfNotPresent",
            "stdin": "true",
            "tty": False,
            "dependsOn": [{"container": "proxy", "condition": "healthy"}],
            "livenessProbe": {"httpGet": {"port": 80}, "periodSeconds": 5},
        }
    ],
    initContainers=[
        {"image": "busybox", "command": ["true"], "volumeMounts": [{"name": "content", "mountPath": "/out"}]},
        {"image": "envoy", "name": "proxy", "restartPolicy": "Always", "readinessProbe": {"tcpSocket": {"port": 1}}},
    ],
    volumes=[{"name": "content", "cinder": {"size": 1, "autoRemove": True}}],
    restartPolicy="OnFailure",
    hostname="web-1",
    terminationGracePeriodSeconds=100_000,
)


@pytest.mark.parametrize("spell", [lambda value: value, json.dumps], ids=["object", "text"])
def test_a_full_template_is_read(spell: Any) -> None:
    read = read_template(spell(FULL))
    server = read.spec.containers[0]
    assert (server.name, server.args) == ("server", ["-g", 5])
    assert server.resources is not None
    assert server.resources.requests is not None
    assert server.resources.requests.cpu == "0.5"
    assert [m.name for m in read.spec.init_containers] == [None, "proxy"]
    assert restart_name(read) == "OnFailure"


def test_a_template_of_yaml_is_read() -> None:
    text = "kind: capsule\nmetadata: {name: web}\nspec:\n  containers:\n  - image: busybox\n    args: [a]\n"
    assert read_template(text).spec.containers[0].args == ["a"]


@pytest.mark.parametrize("text", ["\U0001f600 caf\u00e9", "a: b", "- x", "'\"", "\t"])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_texts_of_json_mean_what_they_mean_in_json(text: str, ascii_only: bool) -> None:
    value = template(top={"metadata": {"labels": {"a": text}}})
    read = read_template(json.dumps(value, ensure_ascii=ascii_only))
    assert read.metadata.labels == {"a": text}


ODD = [
    *("!!int ''", "!!bool maybe", "!!timestamp never", "!!float x", "!!python/object:os.system x", "? {a: b}\n: c"),
    *(
        "? [a]\n: b",
        "2020-99-99",
        "<<: 1",
        "a: b\n---\nc: d",
        "\0",
        'kind: "\\0"',
        'kind: "\\ud800"',
        "{" * 40 + "}" * 40,
    ),
    *('{"kind": "\\ud800"}', "%YAML 9.9\n---\na: b", "!!binary x", "!!set {a, b}", "!!omap [a: b]", "9" * 5000, "&a"),
    *("- " * 5000, "[" * 500_000, '{"a":' * 500_000, "a: " * 1000, "\ufeff", "\ud800"),
]


@pytest.mark.parametrize("text", ODD, ids=lambda text: ascii(text[:30]))
def test_texts_that_are_no_template_are_refused(text: str) -> None:
    assert refusal(text).startswith("template: ")


def test_numbers_of_yaml_are_those_of_json_and_all_else_is_text() -> None:
    values = {
        **{"5": 5, "-3": -3, "0x10": 16, "0o17": 15, "1.5": 1.5, "1e3": "1e3", "1.0e3": 1000.0, ".5": 0.5},
        **{"22:22": "22:22", "1:59:59": "1:59:59", "2026-01-31": "2026-01-31", "1_000": "1_000", "9" * 30: "9" * 30},
        **{"yes": True, "off": False, "~": None, "!!str 5": "5", "'5'": "5"},
    }
    assert {text: read_yaml(f"a: {text}") for text in values} == {text: {"a": value} for text, value in values.items()}


@pytest.mark.parametrize(
    "text",
    [
        *("1" + ":59" * 330_000, "0x" + "f" * 1_000_000, "9" * 1_000_000, "1" + "_" * 1_000_000),
        *("{a: [" + "{b: c}," * 120_000 + "]}", "a: {" + "<<: {b: c}," * 90_000 + "}", "- &a b\n" * 140_000),
    ],
    ids=lambda text: text[:16],
)
def test_a_megabyte_of_nonsense_is_refused(text: str) -> None:
    assert refusal(text).startswith("template: ")


@pytest.mark.parametrize("odd", ["\\0", "\\x00", "\\u0000"])
def test_a_nul_in_yaml_is_allowed_nowhere(odd: str) -> None:
    text = f'kind: capsule\nmetadata: {{labels: {{a: "{odd}"}}}}\nspec: {{containers: [{{image: busybox}}]}}\n'
    assert "allowed nowhere" in refusal(text)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (template(), "Always"),
        (template(top={"restartPolicy": "Never"}), "Never"),
        (template(restartPolicy="OnFailure", top={"restartPolicy": "Never"}), "OnFailure"),
    ],
)
def test_both_places_of_the_restart_policy_are_read(value: Json, name: str) -> None:
    assert restart_name(read_template(value)) == name


CIRCLE = [
    {"image": "aa", "name": "aa", "dependsOn": [{"container": "bb"}]},
    {"image": "bb", "name": "bb", "dependsOn": [{"container": "aa"}]},
]
REFUSED: list[tuple[object, str]] = [
    (None, "template: expected an object"),
    (7, "template: expected an object"),
    ("[]", "template: expected an object"),
    ('{"kind":', "template: is neither JSON nor YAML"),
    ("a: &x [1]\nb: *x", "aliases are not allowed"),
    ("[" * 5000, "template: is neither JSON nor YAML"),
    ("x" * (1 << 21), "template: longer than"),
    ({}, "template: 'kind' is a required property"),
    ({"kind": "capsule", "metadata": {}}, "template: 'spec' is a required property"),
    (
        {"kind": "capsule", "spec": {"containers": [{"image": "busybox"}]}},
        "template: 'metadata' is a required property",
    ),
    (template(top={"kind": "Pod"}), "template.kind: expected capsule or Capsule"),
    (template(top={"more": 1}), "template: there is no field 'more'; known are"),
    (template(top={"capsuleVersion": "v1"}), "template.capsuleVersion: expected beta or Beta"),
    (template(top={"metadata": {"name": "a/b"}}), "template.metadata.name: expected 2 to 255 letters"),
    (template([]), "template.spec.containers: expected a list of 1 to 32 containers"),
    (template([{"image": "busybox"}] * 33), "template.spec.containers: expected a list of 1 to 32 containers"),
    (template([{}]), "template.spec.containers[0]: 'image' is a required property"),
    (one(imag="x"), "template.spec.containers[0]: there is no field 'imag'; known are args, command"),
    (one(image="/"), "template.spec.containers[0].image: expected an image name"),
    (one(command="ls -l"), "template.spec.containers[0].command: expected a list of strings"),
    (one(env={"A": 1}), "containers[0].env['A']: expected a text"),
    (one(imagePullPolicy="sometimes"), "template.spec.containers[0].imagePullPolicy: expected one of Always, Never"),
    (one(resources={"requests": {"cpu": "much"}}), "containers[0].resources.requests.cpu: expected a number of cores"),
    (
        one(resources={"requests": {"gpu": 1}}),
        "containers[0].resources.requests: there is no field 'gpu'; known are cpu",
    ),
    (one(ports=[{"containerPort": 70000}]), "containers[0].ports[0].containerPort: expected the number of a port"),
    (one(ports=[{"hostPort": 1}]), "containers[0].ports[0]: 'containerPort' is a required property"),
    (one(ports=[{"containerPort": 1, "protocol": "SCTP"}]), "containers[0].ports[0].protocol: expected TCP or UDP"),
    (
        one(volumeMounts=[{"name": "no", "mountPath": "/a"}]),
        "volumeMounts[0].name: there is no volume 'no'; there are: none",
    ),
    (one(volumeMounts=[{"name": "no", "mountPath": "a"}]), "volumeMounts[0].mountPath: expected an absolute path"),
    (one(restartPolicy="Always"), "containers[0].restartPolicy: is for initContainers"),
    (one(livenessProbe={}), "containers[0].livenessProbe: expected exactly one of exec, httpGet and tcpSocket"),
    (one(livenessProbe={"exec": {"command": ["a"]}, "tcpSocket": {"port": 1}}), "expected exactly one of exec"),
    (one(readinessProbe={"exec": {"command": []}}), "exec.command: expected a list of at least one string"),
    (one(startupProbe={"httpGet": {"port": 1, "path": "x"}}), "httpGet.path: expected a path that begins with /"),
    (one(dependsOn=[{"container": "other"}]), "containers[0].dependsOn[0].container: there is no other member 'other'"),
    (one(name="me", dependsOn=[{"container": "me"}]), "there is no other member 'me'; there are: none"),
    (template(CIRCLE), "members wait for each other: containers[0] -> containers[1] -> containers[0]"),
    (template([{"image": "aa", "name": "aa"}] * 2), "containers[1].name: 'aa' is the name of containers[0] already"),
    (template(restartPolicy="always"), "template.spec.restartPolicy: expected one of Always, OnFailure, Never"),
    (template(volumes=[{"name": "vol"}]), "volumes[0]: expected exactly one of cinder and file"),
    (template(volumes=[{"name": "vol", "cinder": {}}]), "volumes[0].cinder: expected exactly one of volumeID and size"),
    (
        template(volumes=[{"name": "vol", "cinder": {"size": 1, "volumeID": "x"}}]),
        "volumes[0].cinder: expected exactly one of volumeID and size",
    ),
    (template(volumes=[{"name": "v", "cinder": {"size": 1}}]), "volumes[0].name: expected 2 to 255"),
    (template(volumes=[{"name": "vol", "cinder": {"size": 1, "autoremove": True}}]), "volumes[0].cinder: "),
    (template(volumes=[{"name": "vol", "cinder": {"size": 1}}]), "volumes[0]: no container mounts 'vol'"),
    (template(volumes=[{"name": "vol", "file": {"content": "?"}}]), "volumes[0].file.content: expected base64"),
    (
        template(volumes=[{"name": "vol", "cinder": {"size": 1}}] * 2),
        "volumes[1].name: there is a volume 'vol' already",
    ),
    (
        template(initContainers=[{"image": "aa", "restartPolicy": "Never"}]),
        "initContainers[0].restartPolicy: expected Always",
    ),
    (
        template(initContainers=[{"image": "aa", "livenessProbe": {"tcpSocket": {"port": 1}}}]),
        "initContainers[0]: an init container that runs to its end has no probes",
    ),
    (
        template(
            [{"image": "aa", "name": "late"}], initContainers=[{"image": "aa", "dependsOn": [{"container": "late"}]}]
        ),
        "initContainers[0].dependsOn[0].container: an init container cannot wait for one that starts after it",
    ),
    (template(initContainers=[{"command": ["x"]}]), "template.spec.initContainers[0]: 'image' is a required property"),
]


@pytest.mark.parametrize(("value", "words"), REFUSED, ids=[words[:60] for _, words in REFUSED])
def test_what_is_wrong_is_named_with_its_place(value: object, words: str) -> None:
    assert words in refusal(value)


def test_mount_points_are_checked() -> None:
    volumes = [{"name": "vol", "cinder": {"size": 1}}]
    for mounts, words in (
        ([{"name": "vol", "mountPath": "/a/../b"}], "expected a path without '..'"),
        ([{"name": "vol", "mountPath": "/a"}, {"name": "vol", "mountPath": "/a/"}], "something else is mounted at /a"),
    ):
        assert words in refusal(template([{"image": "busybox", "volumeMounts": mounts}], volumes=volumes))


def test_unknown_keys_of_metadata_and_spec_are_accepted_and_named() -> None:
    value = template(top={"metadata": {"name": "web", "uid": "1"}}, nodeName="rack")
    assert unknown_keys(value, read_template(value)) == ["metadata.uid", "spec.nodeName"]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(value=anything, inside=anything)
def test_whatever_comes_is_read_or_refused(value: Any, inside: Any) -> None:
    for tried in (value, template(inside), {**template(), "spec": inside}, one(resources=inside, env=inside)):
        with contextlib.suppress(Invalid):
            assert read_template(tried).spec.containers

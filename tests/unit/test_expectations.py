"""Refusals of requests say what is allowed at the very place they name."""

from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta

from krater.api.schemas.capsules import CreateCapsule
from krater.api.schemas.decoding import decode
from krater.api.templates import read_template
from krater.errors import Invalid

SPEC = "template.spec"
FIRST = f"{SPEC}.containers[0]"


def refusal(template: Any) -> str:
    """What an object is refused with; the same in a body and alone."""
    with pytest.raises(Invalid) as alone:
        read_template(template)
    with pytest.raises(Invalid) as sent:
        decode(msgspec.json.encode({"template": template}), CreateCapsule)
    assert alone.value.message == sent.value.message
    return alone.value.message


def template(spec: Any = None, metadata: Any = None, **member: Any) -> Any:
    found = {"containers": [{"image": "busybox", **member}]}
    return {"kind": "capsule", "metadata": metadata or {}, "spec": {**found, **(spec or {})}}


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"kind": "capsule", "metadata": {}, "spec": []}, f"{SPEC}: expected an object"),
        ({"kind": "capsule", "metadata": None, "spec": {}}, "template.metadata: expected an object"),
        (template({"containers": ["web"]}), f"{FIRST}: expected an object"),
        (template({"containers": {}}), f"{SPEC}.containers: expected a list of 1 to 32 containers"),
        (template({"volumes": {}}), f"{SPEC}.volumes: expected a list of at most 64 items"),
        (template({"securityGroups": "default"}), f"{SPEC}.securityGroups: expected a list of at most 64 items"),
        (template({"securityGroups": [3]}), f"{SPEC}.securityGroups[0]: expected a text of 1 to 255 characters"),
        (
            template({"terminationGracePeriodSeconds": -1}),
            f"{SPEC}.terminationGracePeriodSeconds: expected a whole number, 0 to 1000000000",
        ),
        (
            template({"terminationGracePeriodSeconds": "long"}),
            f"{SPEC}.terminationGracePeriodSeconds: expected a whole number, 0 to 1000000000",
        ),
        (template(workDir=3), f"{FIRST}.workDir: expected a text of at most 65536 characters"),
        (template(ports={}), f"{FIRST}.ports: expected a list of at most 64 items"),
        (template(ports=[{"containerPort": "http"}]), f"{FIRST}.ports[0].containerPort: expected the number of a port"),
        (template(command=[["sh"]]), f"{FIRST}.command[0]: expected a list of strings"),
        (template(dependsOn=["db"]), f"{FIRST}.dependsOn[0]: expected an object"),
        (template(resources=3), f"{FIRST}.resources: expected an object"),
        (template(livenessProbe={"exec": {"command": []}}), ".exec.command: expected a list of at least one string"),
        (template(env={"A": "b", "PORT": 80}), f"{FIRST}.env['PORT']: expected a text"),
        (template(env={"": "b"}), f"{FIRST}.env: expected every key to be a text of at least 1 character"),
        (
            template(metadata={"labels": {"tier": "front", "app.io/x": [1]}}),
            "template.metadata.labels['app.io/x']: expected a text or a whole number or a number or true or false",
        ),
    ],
)
def test_what_is_expected_is_that_of_the_place(wrong: Any, expected: str) -> None:
    assert expected in refusal(wrong)


def test_keys_of_yaml_that_are_no_texts_are_told_with_their_place() -> None:
    with pytest.raises(Invalid) as refused:
        read_template("kind: capsule\nmetadata: {labels: {1: a}}\nspec: {containers: [{image: busybox}]}")
    assert refused.value.message == "template.metadata.labels: expected every key to be a text"


def test_a_long_key_is_not_repeated_at_length() -> None:
    assert len(refusal(template(env={"K" * 5000: 1}))) < 200


class Odd(msgspec.Struct):
    """Types that requests have not yet."""

    many: dict[str, dict[str, int]] = {}
    flag: bool | None = None
    some: Annotated[list[int], Meta(min_length=2)] | None = None
    either: int | Annotated[str, Meta(max_length=3)] | None = None


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"many": {"a": {"b": 1}, "c": {"d": "x"}}}', "many['c']['d']: expected a whole number"),
        (b'{"flag": 3}', "flag: expected true or false"),
        (b'{"some": [1]}', "some: expected a list of at least 2 items"),
        (b'{"some": [1, "x"]}', "some[1]: expected a whole number"),
        (b'{"either": []}', "either: expected a whole number or a text of at most 3 characters"),
        (b"[]", "The request body is not a JSON object."),
    ],
)
def test_types_without_a_description_are_told_by_their_kind(raw: bytes, expected: str) -> None:
    with pytest.raises(Invalid) as refused:
        decode(raw, Odd)
    assert refused.value.message == expected

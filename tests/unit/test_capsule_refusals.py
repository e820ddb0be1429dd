"""What is wrong with templates that their types cannot tell: every refusal with its place and what is allowed."""

import base64
import math

import pytest

from krater.errors import Invalid
from tests.support.templates import Json, after, read, sized

FILE = {"name": "conf", "file": {"content": "aGk="}}
DATA = {"name": "data", "cinder": {"size": 1}}
PLACE = "template.spec.containers[0]"


def at(*paths: str, volume: str = "data") -> list[Json]:
    return [{"name": volume, "mountPath": path} for path in paths]


REFUSED: list[tuple[Json, list[Json], str]] = [
    # order
    (
        {"initContainers": [{"name": "aa", "dependsOn": after("bb")}, {"name": "bb"}]},
        [],
        "template.spec.initContainers[0].dependsOn[0].container: 'bb' starts after it",
    ),
    (
        {},
        [{"name": "aa", "dependsOn": after("bb", condition="healthy")}, {"name": "bb"}],
        f"{PLACE}.dependsOn[0].condition: expected one of started, completed: 'bb' has no probe",
    ),
    (
        {},
        [{"name": "aa", "dependsOn": after("bb", condition="completed")}, {"name": "bb"}],
        f"{PLACE}.dependsOn[0].condition: expected one of started, healthy: 'bb' is always started again",
    ),
    (
        {"restartPolicy": "Never", "initContainers": [{"name": "log", "restartPolicy": "Always"}]},
        [{"dependsOn": after("log", condition="completed")}],
        f"{PLACE}.dependsOn[0].condition: expected one of started, healthy: 'log' is always",
    ),
    # resources
    ({}, [sized(2, limits=(1, None))], f"{PLACE}.resources.limits.cpu: 1 is less than the 2 of requests.cpu"),
    ({}, [sized(None, 64, limits=(None, 32))], f"{PLACE}.resources.limits.memory: 32 is less than the 64"),
    ({}, [sized(5)], f"{PLACE}.resources.requests.cpu: 5 is out of range; allowed are 0.1 to 4 cores"),
    ({}, [sized("0.01")], f"{PLACE}.resources.requests.cpu: 0.01 is out of range"),
    ({}, [sized(math.inf)], f"{PLACE}.resources.requests.cpu: inf is out of range"),
    ({}, [sized(math.nan)], f"{PLACE}.resources.requests.cpu: nan is out of range"),
    ({}, [sized(None, 3)], f"{PLACE}.resources.requests.memory: 3 is out of range; allowed are 4 to 2048 MiB"),
    ({}, [sized(limits=(None, 4096))], f"{PLACE}.resources.limits.memory: 4096 is out of range"),
    (sized(9), [{}, {}], "template.spec.resources.requests.cpu: 9 is out of range; allowed are 0.1 to 8 cores"),
    (sized(limits=(1, 2)), [{}], "template.spec.resources.limits.memory: 2 is out of range; allowed are 4 to 2048"),
    (sized(2, limits=(1, None)), [{}], "template.spec.resources.limits.cpu: 1 is less than the 2"),
    (sized(1), [sized(2)], f"{PLACE}.resources: 2 cores are more than the whole capsule has, 1 (template.spec.res"),
    (sized(None, 64), [sized(limits=(None, 65))], f"{PLACE}.resources: 65 MiB are more than the whole capsule has"),
    # mounts and volumes
    ({"volumes": [DATA]}, [{"volumeMounts": at("/proc/self")}], f"{PLACE}.volumeMounts[0].mountPath: nothing can be"),
    ({"volumes": [DATA]}, [{"volumeMounts": at("/sys")}], "nothing can be mounted at or below /proc, /sys, /dev"),
    ({"volumes": [DATA]}, [{"volumeMounts": at("//")}], f"{PLACE}.volumeMounts[0].mountPath: nothing can be mounted"),
    ({"volumes": [DATA]}, [{"volumeMounts": at("/a/./b", "/a//b")}], "mountPath: something else is mounted at /a/b"),
    (
        {"volumes": [DATA, FILE]},
        [{"volumeMounts": [*at("/a", volume="conf"), *at("/a/b")]}],
        f"{PLACE}.volumeMounts[1].mountPath: /a/b is below /a, which is a file",
    ),
    (
        {"volumes": [DATA, FILE]},
        [{"volumeMounts": [*at("/a/b"), *at("/a", volume="conf")]}],
        f"{PLACE}.volumeMounts[1].mountPath: /a/b is below /a, which is a file",
    ),
    *(
        (
            {"volumes": [{"name": "data", "cinder": {"size": size}}]},
            [{"volumeMounts": at("/a")}],
            "template.spec.volumes[0].cinder.size: expected whole GiB, at least 1",
        )
        for size in (0, "0", 1.5, -1.0, math.inf, math.nan, 1e300)
    ),
    (
        {"volumes": [{"name": "data", "file": {"content": base64.b64encode(b"x" * 1001).decode()}}]},
        [{"volumeMounts": at("/a")}],
        "template.spec.volumes[0].file.content: the file is too large; allowed are 1000 bytes",
    ),
    # ports and probes
    ({}, [{"ports": [{"containerPort": 0}]}], f"{PLACE}.ports[0].containerPort: 0 is out of range; allowed are 1 to"),
    ({}, [{"ports": [{"containerPort": "65536"}]}], f"{PLACE}.ports[0].containerPort: 65536 is out of range"),
    ({}, [{"livenessProbe": {"tcpSocket": {"port": 0}}}], f"{PLACE}.livenessProbe.tcpSocket.port: 0 is out of range"),
    ({}, [{"startupProbe": {"httpGet": {"port": "99999"}}}], f"{PLACE}.startupProbe.httpGet.port: 99999 is out"),
    (
        {},
        [{"readinessProbe": {"httpGet": {"port": 1, "path": "/ HTTP/1.1\r\nX: y"}}}],
        f"{PLACE}.readinessProbe.httpGet.path: expected printable ASCII",
    ),
    (
        {},
        [{"readinessProbe": {"tcpSocket": {"port": 1}, "periodSeconds": 0}}],
        f"{PLACE}.readinessProbe.periodSeconds: 0 is out of range; allowed are 1 to 86400 seconds",
    ),
    (
        {},
        [{"readinessProbe": {"tcpSocket": {"port": 1}, "timeoutSeconds": "99999"}}],
        f"{PLACE}.readinessProbe.timeoutSeconds: 99999 is out of range",
    ),
    # the rest
    ({}, [{"image": "UPPER/Case"}], f"{PLACE}.image"),
    ({}, [{"args": ["x" * 65_536]}], f"{PLACE}.command: all of it together may have no more than 65535 bytes"),
    ({}, [{"env": {"A": "x" * 65_535}}], f"{PLACE}.env: all of it together may have no more than 65535 bytes"),
    (
        {},
        [{"livenessProbe": {"exec": {"command": ["x" * 65_536]}}}],
        f"{PLACE}.livenessProbe.exec.command: all of it together may have no more than 65535 bytes",
    ),
    ({}, [{"env": {"A=B": "c"}}], f"{PLACE}.env: a name must not contain '='"),
    (
        {"terminationGracePeriodSeconds": 86401},
        [],
        "template.spec.terminationGracePeriodSeconds: 86401 is out of range; allowed are 0 to 86400 seconds",
    ),
]


@pytest.mark.parametrize(("spec", "containers", "words"), REFUSED, ids=[words[:90] for *_, words in REFUSED])
def test_refusals_name_their_place_and_what_is_allowed(spec: Json, containers: list[Json], words: str) -> None:
    with pytest.raises(Invalid) as refused:
        read(*containers, **spec)
    assert words in refused.value.message
    assert refused.value.message.startswith("template.")
    assert len(refused.value.message) < 400

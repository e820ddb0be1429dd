"""Kubernetes Pods as capsules: what becomes of each field, and what is named as left out."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from krater.api.templates import read_template
from krater.cli.pods import NotAPod, capsule_of, told
from krater.errors import Invalid

POD = """
apiVersion: v1
kind: Pod
metadata:
  name: web
  namespace: default
  labels: {app: web}
spec:
  serviceAccountName: robot
  restartPolicy: OnFailure
  terminationGracePeriodSeconds: 5
  imagePullSecrets: [{name: quay}]
  initContainers:
  - name: fetch
    image: busybox
    command: [sh, -c]
    args: [echo hello > /out/index.html]
    volumeMounts: [{name: content, mountPath: /out}]
  - name: proxy
    image: envoy
    restartPolicy: Always
  containers:
  - name: server
    image: nginx
    workingDir: /srv
    env:
    - {name: A, value: "1"}
    - {name: B, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    resources:
      requests: {cpu: 250m, memory: 64Mi}
      limits: {cpu: "1", memory: 1G, "nvidia.com/gpu": 1}
    ports: [{name: http, containerPort: 80, hostPort: 8080}]
    volumeMounts:
    - {name: content, mountPath: /usr/share/nginx/html, readOnly: true, subPath: x}
    - {name: settings, mountPath: /etc/nginx}
    livenessProbe:
      httpGet: {path: /, port: http, host: elsewhere}
      periodSeconds: 5
    securityContext: {privileged: true}
  volumes:
  - name: content
    emptyDir: {sizeLimit: 1500Mi, medium: Memory}
  - name: kept
    persistentVolumeClaim: {claimName: database}
  - name: settings
    configMap: {name: nginx}
"""


@pytest.fixture
def pod() -> Any:
    return yaml.safe_load(POD)


def test_a_pod_becomes_a_template_that_is_accepted(pod: Any) -> None:
    template, _ = capsule_of(pod)
    assert template["metadata"] == {"name": "web", "labels": {"app": "web"}}
    spec = template["spec"]
    assert spec["restartPolicy"] == "OnFailure"
    assert spec["imagePullSecrets"] == [{"registry": "quay"}]
    [fetch, proxy] = spec["initContainers"]
    assert (fetch["entrypoint"], fetch["command"]) == (["sh", "-c"], ["echo hello > /out/index.html"])
    assert proxy["restartPolicy"] == "Always"
    [server] = spec["containers"]
    assert server["resources"] == {"requests": {"cpu": 0.25, "memory": 64}, "limits": {"cpu": 1.0, "memory": 954}}
    assert server["livenessProbe"] == {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 5}
    assert spec["volumes"] == [{"name": "content", "cinder": {"size": 2, "autoRemove": True}}]
    read_template(template)


def test_each_field_that_is_left_out_is_named(pod: Any) -> None:
    _, left_out = capsule_of(pod)
    assert sorted(left_out) == [
        "metadata.namespace",
        "spec.containers[0].env[1].valueFrom",
        "spec.containers[0].livenessProbe.httpGet.host",
        "spec.containers[0].ports[0].hostPort",
        "spec.containers[0].resources.limits.nvidia.com/gpu",
        "spec.containers[0].securityContext",
        "spec.containers[0].volumeMounts[0].subPath",
        "spec.containers[0].volumeMounts[1]",
        "spec.serviceAccountName",
        "spec.volumes[0].emptyDir.medium",
        "spec.volumes[1]",
        "spec.volumes[2].configMap",
    ]


def test_a_claim_becomes_a_volume_that_is_there(pod: Any) -> None:
    pod["spec"]["containers"][0]["volumeMounts"] = [{"name": "kept", "mountPath": "/data"}]
    template, _ = capsule_of(pod)
    assert {"name": "kept", "cinder": {"volumeID": "database", "autoRemove": False}} in template["spec"]["volumes"]


def member_of(more: str) -> tuple[Any, list[str]]:
    """What becomes of a container with these fields, and what is left out."""
    text = f"{{kind: Pod, metadata: {{name: web}}, spec: {{containers: [{{name: web, image: nginx, {more}}}]}}}}"
    template, left_out = capsule_of(yaml.safe_load(text))
    read_template(template)
    return template["spec"]["containers"][0], left_out


def test_a_claim_for_reading_is_mounted_for_reading(pod: Any) -> None:
    pod["spec"]["volumes"][1]["persistentVolumeClaim"]["readOnly"] = True
    pod["spec"]["containers"][0]["volumeMounts"] = [{"name": "kept", "mountPath": "/data"}]
    template, _ = capsule_of(pod)
    [mount] = template["spec"]["containers"][0]["volumeMounts"]
    assert mount == {"name": "kept", "mountPath": "/data", "readOnly": True}


def test_an_ephemeral_volume_is_one_of_its_size(pod: Any) -> None:
    asked = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "3Gi"}}}
    pod["spec"]["volumes"][0] = {"name": "content", "ephemeral": {"volumeClaimTemplate": {"spec": asked}}}
    template, left_out = capsule_of(pod)
    assert template["spec"]["volumes"][0] == {"name": "content", "cinder": {"size": 3, "autoRemove": True}}
    assert "spec.volumes[0].ephemeral.volumeClaimTemplate.spec.accessModes" in left_out


@pytest.mark.parametrize("source", ["hostPath: {path: /srv}", "secret: {secretName: x}", "projected: {sources: []}"])
def test_volumes_that_cannot_be_had_are_named_with_their_mounts(pod: Any, source: str) -> None:
    pod["spec"]["volumes"][2] = {"name": "settings", **yaml.safe_load(source)}
    template, left_out = capsule_of(pod)
    assert f"spec.volumes[2].{source.partition(':')[0]}" in left_out
    assert "spec.containers[0].volumeMounts[1]" in left_out
    read_template(template)


def test_variables_are_put_into_commands_as_kubernetes_does() -> None:
    env = "[{name: A, value: one}, {name: B, value: $(A)-$(C)}, {name: N, value: 5}, {name: T, value: true}, {name: E}]"
    found, left_out = member_of(f"env: {env}, command: [echo, $(B)], args: [$(C), $$(A), $$$$, '$(', $A]")
    assert found["env"] == {"A": "one", "B": "one-$(C)", "N": "5", "T": "true", "E": ""}
    assert found["entrypoint"] == ["echo", "one-$(C)"]
    assert found["command"] == ["$(C)", "$(A)", "$$", "$(", "$A"]
    assert left_out == []


def test_probes_that_a_capsule_has_not_are_left_out_whole() -> None:
    found, left_out = member_of("livenessProbe: {grpc: {port: 5}, periodSeconds: 3}, lifecycle: {preStop: {exec: {}}}")
    assert "livenessProbe" not in found
    assert left_out == ["spec.containers[0].livenessProbe", "spec.containers[0].lifecycle"]


def test_a_probe_has_a_path_and_a_port_by_name() -> None:
    ports = "ports: [{name: http, containerPort: 80}, {containerPort: 9, protocol: SCTP}]"
    found, left_out = member_of(f"{ports}, readinessProbe: {{httpGet: {{path: healthz, port: http}}}}")
    assert found["readinessProbe"] == {"httpGet": {"path": "/healthz", "port": 80}}
    assert found["ports"] == [{"name": "http", "containerPort": 80}]
    assert left_out == ["spec.containers[0].ports[1]"]


def test_what_says_nothing_is_not_named(pod: Any) -> None:
    nothing = {"hostNetwork": False, "securityContext": {}, "tolerations": [], "nodeSelector": None, "subdomain": ""}
    _, before = capsule_of(pod)
    pod["spec"] |= nothing
    assert capsule_of(pod)[1] == before
    pod["spec"] |= {"hostNetwork": True, "hostUsers": False}
    assert [*before, "spec.hostNetwork", "spec.hostUsers"] == capsule_of(pod)[1]


def test_only_sidecars_have_a_restart_policy_of_their_own(pod: Any) -> None:
    pod["spec"]["initContainers"][0]["restartPolicy"] = "OnFailure"
    template, left_out = capsule_of(pod)
    read_template(template)
    assert "spec.initContainers[0].restartPolicy" in left_out


@pytest.mark.parametrize(
    ("amount", "mebibytes"), [("64Mi", 64), ("1e9", 954), ("1Gi", 1024), (8388608, 8), ("128974848000m", 123)]
)
def test_amounts_of_memory(amount: object, mebibytes: int) -> None:
    found, _ = member_of(f"resources: {{limits: {{memory: {amount}}}}}")
    assert found["resources"] == {"limits": {"memory": mebibytes}}


def test_what_is_less_than_a_capsule_may_ask_for_is_made_more_and_told() -> None:
    small = "{requests: {cpu: 10m, memory: 1Mi}, limits: {cpu: 50m, memory: 64Mi}}"
    found, notes = member_of(f"resources: {small}")
    assert found["resources"] == {"requests": {"cpu": 0.1, "memory": 4}, "limits": {"cpu": 0.1, "memory": 64}}
    less = "are less than a capsule may ask for, made"
    assert notes == [
        f"spec.containers[0].resources.requests.cpu: 0.01 cores {less} 0.1",
        f"spec.containers[0].resources.requests.memory: 1 MiB {less} 4",
        f"spec.containers[0].resources.limits.cpu: 0.05 cores {less} 0.1",
    ]
    assert [told(notes[0]), told("spec.x")] == [notes[0], "spec.x: left out, a capsule has no such thing"]


def test_nothing_of_a_resource_is_nothing_asked() -> None:
    found, notes = member_of("resources: {requests: {cpu: 0}, limits: {cpu: '0', memory: 0}}")
    assert (found.get("resources"), notes) == ({}, [])


@pytest.mark.parametrize("manifest", [None, [], {}, {"kind": "Deployment"}])
def test_what_is_no_pod_is_refused(manifest: object) -> None:
    with pytest.raises(NotAPod, match="kind Pod"):
        capsule_of(manifest)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (None, "spec: expected an object"),
        ({"containers": {}}, "spec.containers: expected a list"),
        ({"containers": ["x"]}, r"spec.containers\[0\]: expected an object"),
        ({"containers": [{"resources": {"requests": {"cpu": "x"}}}]}, "requests.cpu: expected cores"),
        ({"containers": [{"resources": {"limits": {"memory": "1Xi"}}}]}, "limits.memory: expected an amount"),
        ({"containers": [{"resources": {"limits": {"memory": ".inf"}}}]}, "limits.memory: expected an amount"),
        ({"containers": [{"resources": {"limits": {"memory": "9e999"}}}]}, "limits.memory: expected an amount"),
        ({"containers": [{"resources": {"limits": 5}}]}, "limits: expected an object"),
        ({"containers": [{"livenessProbe": "x"}]}, "livenessProbe: expected an object"),
        ({"containers": [{"livenessProbe": {"httpGet": 80}}]}, "livenessProbe.httpGet: expected an object"),
        ({"containers": [{"env": [{"value": "x"}]}]}, r"env\[0\].name: expected the name"),
        ({"volumes": [{"name": "x", "emptyDir": "y"}]}, r"volumes\[0\].emptyDir: expected an object"),
        ({"volumes": [{"name": "x", "emptyDir": {"sizeLimit": "much"}}]}, "sizeLimit: expected an amount"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(spec: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        capsule_of({"kind": "Pod", "spec": spec})


ODD: list[Any] = [None, 3, -1, "x", "", [], {}, [1], [[1]], {"a": 1}, {1: 2}, True, 1.5, [None], {"name": [1]}]


def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield above
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*above, key))


@pytest.mark.thorough
def test_nonsense_anywhere_is_refused_and_breaks_nothing(pod: Any) -> None:
    pod["spec"]["volumes"] += [
        {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": {"resources": {"requests": {"storage": 1}}}}}}
    ]
    refused = 0
    for place in list(places(pod))[1:]:
        for odd in ODD:
            manifest = copy.deepcopy(pod)
            within = manifest
            for key in place[:-1]:
                within = within[key]
            within[place[-1]] = odd
            try:
                read_template(capsule_of(manifest)[0])
            except (NotAPod, ValueError, Invalid):
                refused += 1
    assert refused > 300


def test_a_port_without_its_number_is_left_to_the_server_to_refuse(pod: Any) -> None:
    pod["spec"]["containers"][0]["ports"] = [{"name": "http"}]
    template, _ = capsule_of(pod)
    with pytest.raises(Invalid, match=r"ports\[0\]: 'containerPort' is a required property"):
        read_template(template)

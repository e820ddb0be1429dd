"""Kubernetes Pods as capsules: what becomes of each field, and what is named as left out."""

from typing import Any

import pytest
import yaml

from krater.api.templates import read_template
from krater.cli.pods import NotAPod, capsule_of

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
        "spec.volumes[2].configMap",
    ]


def test_a_claim_becomes_a_volume_that_is_there(pod: Any) -> None:
    pod["spec"]["containers"][0]["volumeMounts"] = [{"name": "kept", "mountPath": "/data"}]
    template, _ = capsule_of(pod)
    assert {"name": "kept", "cinder": {"volumeID": "database", "autoRemove": False}} in template["spec"]["volumes"]


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
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(spec: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        capsule_of({"kind": "Pod", "spec": spec})

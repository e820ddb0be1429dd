"""`krater capsule lint` and `convert`: files in, words and exit codes out."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from krater.cli.capsule import capsule

GOOD = "kind: capsule\nmetadata: {name: web, uid: 7}\nspec:\n  containers: [{image: busybox}]\n"
BAD = "kind: capsule\nmetadata: {}\nspec:\n  containers: [{image: busybox, ports: [{containerPort: 70000}]}]\n"
POD = "kind: Pod\nmetadata: {name: web}\nspec:\n  nodeName: rack\n  containers: [{name: web, image: busybox}]\n"


def run(*words: object, stdin: str = "") -> Result:
    return CliRunner().invoke(capsule, [str(word) for word in words], input=stdin)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name, text in (("good.yaml", GOOD), ("bad.yaml", BAD), ("pod.yaml", POD), ("no.yaml", "a: [")):
        (tmp_path / name).write_text(text)
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe")
    return tmp_path


def test_a_good_template_is_ok_and_unknown_keys_are_named(files: Path) -> None:
    done = run("lint", files / "good.yaml")
    assert done.exit_code == 0
    assert "good.yaml: ok" in done.output
    assert "metadata.uid: means nothing" in done.output


def test_all_files_are_checked_and_one_that_is_wrong_fails(files: Path) -> None:
    done = run("lint", files / "bad.yaml", files / "good.yaml")
    assert done.exit_code == 1
    assert "template.spec.containers[0].ports[0].containerPort: expected the number of a port" in done.output
    assert "good.yaml: ok" in done.output


@pytest.mark.parametrize(
    ("member", "place"),
    [
        ("image: UPPER/Case", "containers[0].image"),
        ("image: busybox, ports: [{containerPort: 0}]", "containers[0].ports[0].containerPort"),
        ("image: busybox, env: {A=B: x}", "containers[0].env"),
        ("image: busybox, volumeMounts: [{name: vol, mountPath: /proc}]", "containers[0].volumeMounts[0].mountPath"),
        (
            "image: busybox, resources: {requests: {cpu: 2}, limits: {cpu: 1}}",
            "containers[0].resources.limits.cpu",
        ),
        ("image: busybox, livenessProbe: {tcpSocket: {port: 0}}", "containers[0].livenessProbe.tcpSocket.port"),
    ],
)
def test_what_the_server_would_refuse_does_not_lint(member: str, place: str) -> None:
    volumes = "volumes: [{name: vol, cinder: {size: 1}}]\n" if "volumeMounts" in member else ""
    done = run("lint", "-", stdin=f"kind: capsule\nmetadata: {{}}\nspec:\n  containers: [{{{member}}}]\n  {volumes}")
    assert (done.exit_code, f"template.spec.{place}" in done.output) == (1, True), done.output


@pytest.mark.parametrize(
    ("policy", "exit_code"),
    [("", 1), ("restartPolicy: Always", 1), ("restartPolicy: OnFailure", 0), ("restartPolicy: Never", 0)],
)
def test_who_waits_for_an_end_that_never_comes_does_not_lint(policy: str, exit_code: int) -> None:
    waits = "{image: busybox, dependsOn: [{container: job, condition: completed}]}"
    text = f"kind: capsule\nmetadata: {{}}\nspec:\n  containers: [{waits}, {{image: busybox, name: job}}]\n  {policy}\n"
    done = run("lint", "-", stdin=text)
    assert done.exit_code == exit_code, done.output
    if exit_code:
        assert "template.spec.containers[0].dependsOn[0].condition" in done.output
        assert "'job' is always started again, so it is never completed; with restartPolicy: OnFailure" in done.output


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"kind": "capsule", "metadata": {}, "spec": {"containers": [{"image": "busybox"}]}}, indent="\t"),
        GOOD.replace("uid: 7", "annotations: {built: 2026-13-01, at: 12:30}"),
    ],
)
def test_files_are_read_as_the_server_reads_them(text: str) -> None:
    assert (run("lint", "-", stdin=text).exit_code, run("lint", "-", stdin=text).output) == (0, "-: ok\n")


def test_standard_input_is_a_file_too() -> None:
    assert run("lint", "-", stdin=GOOD).exit_code == 0


@pytest.mark.parametrize("name", ["no.yaml", "bytes.yaml", "missing.yaml"])
@pytest.mark.parametrize("command", ["lint", "convert"])
def test_what_cannot_be_read_is_told_without_a_traceback(files: Path, command: str, name: str) -> None:
    done = run(command, files / name)
    assert done.exit_code == 1
    assert name in done.output
    assert isinstance(done.exception, SystemExit)


def test_a_pod_becomes_a_template_that_lints(files: Path) -> None:
    done = CliRunner().invoke(capsule, ["convert", str(files / "pod.yaml")])
    assert done.exit_code == 0
    assert "spec.nodeName: left out" in done.stderr
    assert json.loads(done.stdout)["spec"]["containers"] == [{"image": "busybox", "name": "web"}]
    assert run("lint", "-", stdin=done.stdout).exit_code == 0


def test_strict_fails_when_something_is_left_out(files: Path) -> None:
    assert run("convert", "--strict", files / "pod.yaml").exit_code == 1


def test_what_is_no_pod_is_refused(files: Path) -> None:
    done = run("convert", files / "good.yaml")
    assert done.exit_code == 1
    assert "expected a manifest of kind Pod, found capsule" in done.output

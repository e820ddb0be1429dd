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

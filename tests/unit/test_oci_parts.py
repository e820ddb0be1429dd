"""Small pure parts of the OCI engine."""

import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from krater.agent.runtimes.interfaces import Group
from krater.agent.runtimes.oci import failures, ps, rooted, seccomp, takeoff
from krater.agent.runtimes.oci.containerd import configuration
from krater.agent.runtimes.oci.crun import OciProgram
from krater.agent.runtimes.oci.endings import stop_signal
from krater.agent.runtimes.oci.images.content import Descriptor, ImageConfig, Index
from krater.agent.runtimes.oci.images.facts import choose_platform, facts_of
from krater.agent.runtimes.oci.images.layers import chain_ids, lower_directories
from krater.agent.runtimes.oci.images.pull import explain
from krater.agent.runtimes.oci.layout import Layout
from krater.agent.runtimes.oci.processes import Identity, identify
from krater.agent.runtimes.oci.state import (
    ContainerRecord,
    ProcessRecord,
    Shelf,
    exposed_ports,
    note_out_of_memory,
    observe,
)
from krater.errors import Invalid, Permanent, Temporary
from krater.model.assignment import ContainerState
from krater.model.image import ImageFacts
from tests.support.oci import config

IMAGE = ImageFacts("i", "sha256:1", 1, exposed_ports=("80/tcp", "53/udp", "x"))


# seccomp ------------------------------------------------------------------------------------------------------------

PROFILE = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "defaultErrnoRet": 38,
    "archMap": [
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
        {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
    ],
    "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64"]}},
        {"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["bpf"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
    ],
}


def test_only_rules_for_our_capabilities_and_machine_are_selected() -> None:
    rules = seccomp.select(PROFILE, "x86_64", frozenset())
    assert [(call["names"], call["action"]) for call in rules["syscalls"]] == [
        (["read"], "SCMP_ACT_ALLOW"),
        (["arch_prctl"], "SCMP_ACT_ALLOW"),
        (["bpf"], "SCMP_ACT_ERRNO"),
    ]
    assert rules["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    arm = seccomp.select(PROFILE, "aarch64", frozenset({"CAP_SYS_ADMIN"}))
    assert [call["names"] for call in arm["syscalls"]] == [["read"], ["bpf"]]


def test_nobody_makes_namespaces_or_mounts() -> None:
    calls = [{"names": ["read", "clone", "clone3", "unshare", "mount"], "action": "SCMP_ACT_ALLOW", "args": []}]
    rules = seccomp.without_namespaces({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": calls})
    allowed = [call for call in rules["syscalls"] if call["action"] == "SCMP_ACT_ALLOW"]
    assert [(call["names"], len(call["args"])) for call in allowed] == [(["read"], 0), (["clone"], 1)]
    refused = {name: call["errnoRet"] for call in rules["syscalls"] if call not in allowed for name in call["names"]}
    assert (refused["unshare"], refused["mount"], refused["clone3"]) == (1, 1, 38)


@pytest.mark.skipif(not Path(seccomp.PROFILE).exists(), reason="no seccomp profile installed")
def test_the_installed_profile_compiles_to_a_program() -> None:
    loaded = seccomp.load(compiled=True)
    assert loaded.compiled is not None
    assert loaded.rules is None
    assert seccomp.load(compiled=False).rules is not None


def test_without_a_profile_there_are_no_containers(tmp_path: Path) -> None:
    for text in (None, "{", "{}"):
        path = tmp_path / "profile.json"
        if text is not None:
            path.write_text(text)
        with pytest.raises(Permanent):
            seccomp.load(True, str(path))


def test_a_profile_with_an_unknown_action_is_not_compiled() -> None:
    with pytest.raises(OSError, match="unknown action"):
        seccomp.compile_filter(
            {"defaultAction": "SCMP_ACT_WAVE", "defaultErrnoRet": 1, "architectures": [], "syscalls": []}
        )


# ps -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("", ["-f"]),
        ("aux", ["u"]),
        ("-o pid,comm", ["-o", "pid,comm"]),
        ("-opid,comm", ["-o", "pid,comm"]),
        ("-eo pid,args --sort=-pid", ["-o", "pid,args", "--sort=-pid"]),
        ("axo pid,comm", ["o", "pid,comm"]),
        ("-eo", None),
        ("-eo 'pid;rm'", None),
        ("-qo 1", None),
        ("fo pid", ["f", "o", "pid"]),
        ("-ef --sort=-pcpu", ["-f", "--sort=-pcpu"]),
        ("-p 1", None),
        ("-C sshd", None),
        ("--pid 1", None),
        ("-o 'pid;rm'", None),
        ("-o", None),
        ("'", None),
        ("-", None),
        ("--no-headers", None),
        ("1234", None),
    ],
)
def test_only_arguments_of_ps_that_choose_columns_pass(wanted: str, expected: list[str] | None) -> None:
    if expected is None:
        with pytest.raises(Invalid):
            ps.arguments(wanted, [7, 8])
    else:
        assert ps.arguments(wanted, [7, 8]) == ["-q", "7,8", *expected]


def test_what_ps_prints_becomes_a_table() -> None:
    table = ps.table("  PID CMD\n    1 sh -c  x\n    2\n")
    assert (table.titles, table.rows) == (("PID", "CMD"), (("1", "sh -c  x"), ("2", "")))
    assert ps.table("").rows == ()
    dated = ps.table("STARTED   PID CMD\nSat Nov 21 23:33:25 2026  7 sh -c  x\n", is_dated=True)
    assert dated.rows == (("Sat Nov 21 23:33:25 2026", "7", "sh -c  x"),)
    with pytest.raises(Invalid):
        ps.table("error: unknown user-defined format specifier\n")


# what the OCI runtime says ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "words", "code"),
    [
        ("executable file `x` not found in $PATH: No such file or directory", "no such program", 127),
        ('exec: \\"x\\": executable file not found in $PATH', "no such program", 127),
        ("open executable: Permission denied", "not an executable", 126),
        ("open executable: Operation not permitted", "not an executable", 126),
        ("exec container process `/bin/x`: Exec format error", "cannot run on this machine", 126),
        ("exec container process (missing dynamic library?) `/x`: No such file or directory", "interpreter", 127),
        ("exec container process `/bin/x`: Argument list too long", "command and environment are too long", None),
        ("mount `/k/volumes/v/data` to `fl`: Not a directory", "mounted at '/fl': Not a directory", None),
        (
            'error mounting "/k/volumes/v/data" to rootfs at "/fl": mount /k/v/data:/fl: not a directory: unknown',
            "mounted at '/fl'",
            None,
        ),
        ("chdir: No such file or directory", "working directory '/w'", None),
        ("2026-01-01T00:00:00Z: linux.c:12: something odd", "something odd", None),
        ("", "no reason", None),
    ],
)
def test_failures_are_told_in_words(said: str, words: str, code: int | None) -> None:
    why = failures.explain(said, "x", "/w")
    assert why.text.startswith("the container cannot start: ")
    assert words in why.text
    assert ".c:" not in why.text
    assert "/k/" not in why.text
    assert why.exit_code == code


def test_last_words_in_the_log_count_only_when_the_process_ended_with_them(tmp_path: Path) -> None:
    paths = Layout(str(tmp_path)).container("c")
    os.makedirs(paths.run)
    os.makedirs(paths.log_directory)
    log = "t stdout F hi\nt stderr F exec container process `/bin/x`: Exec format error\n"
    Path(paths.log).write_text(log)
    assert takeoff.complaint(paths) is None
    Path(paths.run, "exit").write_text("0")
    assert takeoff.complaint(paths) is None
    Path(paths.run, "exit").write_text("1")
    assert "Exec format error" in str(takeoff.complaint(paths))
    Path(paths.log).write_text("t stderr F exec container process `/bin/x`: Argument list too long\n")
    assert "too long" in str(takeoff.complaint(paths))
    Path(paths.log).write_text(log + "t stdout F more\n")
    assert takeoff.complaint(paths) is None


# images -------------------------------------------------------------------------------------------------------------


def test_chains_are_named_as_the_specification_says() -> None:
    assert chain_ids([]) == []
    first, second = "sha256:" + "a" * 64, "sha256:" + "b" * 64
    expected = "sha256:9b2b3c59d1a5e0f4c4ea1a2d1b6d6b7a"[:7]
    chain = chain_ids([first, second])
    assert chain[0] == first
    assert chain[1].startswith(expected)
    assert len(chain[1]) == 71
    assert chain[1] != second


def test_directories_of_a_view() -> None:
    bind = SimpleNamespace(type="bind", source="/s/1/fs", options=["ro", "rbind"])
    overlay = SimpleNamespace(type="overlay", source="overlay", options=["index=off", "lowerdir=/s/2/fs:/s/1/fs"])
    assert lower_directories([bind]) == ("/s/1/fs",)
    assert lower_directories([overlay]) == ("/s/2/fs", "/s/1/fs")
    with pytest.raises(Permanent):
        lower_directories([SimpleNamespace(type="ext4", source="/dev/x", options=[])])


def test_the_manifest_for_this_machine_is_chosen() -> None:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    other = Descriptor(digest="a", platform={"architecture": "mips", "os": "linux"})
    ours = Descriptor(digest="b", platform={"architecture": machine, "os": "linux"})
    plain = Descriptor(digest="c")
    assert choose_platform(Index((other, ours))) == ours
    assert choose_platform(Index((plain,))) == plain
    assert choose_platform(Index((other,))) is None


def test_facts_of_a_strange_configuration_are_harmless() -> None:
    config = ImageConfig({"Cmd": "x", "Env": [1, "A=b"], "Labels": [], "User": 7, "ExposedPorts": {"80/tcp": {}}})
    facts = facts_of("n", "d", 1, config)
    assert (facts.command, facts.environment, facts.user, facts.exposed_ports) == ((), ("A=b",), "", ("80/tcp",))


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        ("failed to resolve reference: pull access denied, insufficient_scope", Permanent, "log in"),
        ("unexpected status code 401 Unauthorized", Permanent, "log in"),
        ("manifest unknown: x: not found", Permanent, "has no image"),
        ("dial tcp 127.0.0.1:1: connect: connection refused", Temporary, "does not answer"),
        ("something else", Temporary, "something else"),
    ],
)
def test_a_registrys_refusal_is_understood(said: str, kind: type[Exception], words: str) -> None:
    explained = explain("box", Temporary(said))
    assert isinstance(explained, kind)
    assert words in explained.message


def test_containerd_is_configured_with_our_paths_only() -> None:
    text = configuration("/k/containerd", "/k/containerd/containerd.sock")
    assert 'root = "/k/containerd/root"' in text
    assert 'address = "/k/containerd/containerd.sock"' in text
    assert "/var/lib" not in text
    assert "/run/containerd" not in text


# users --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path) -> str:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nweb:x:33:34::/var/www:\nbroken\nbad:x:a:b::/:\n")
    (tmp_path / "etc/group").write_text("root:x:0:\nweb:x:34:\nmore:x:44:web,root\n")
    return str(tmp_path)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("", rooted.User(0, 0, (44,), "/root")),
        ("web", rooted.User(33, 34, (44,), "/var/www")),
        ("33", rooted.User(33, 34, (44,), "/var/www")),
        ("web:more", rooted.User(33, 44, (), "/var/www")),
        ("5:6", rooted.User(5, 6, (), "/")),
    ],
)
def test_users_are_found_in_the_image(root: str, wanted: str, expected: rooted.User) -> None:
    assert rooted.find_user(root, wanted) == expected


@pytest.mark.parametrize("wanted", ["nobody", "bad", "web:none", "-1", "99999999999", "\u0661"])
def test_users_the_image_does_not_have_are_refused(root: str, wanted: str) -> None:
    with pytest.raises(Permanent):
        rooted.find_user(root, wanted)


def test_links_do_not_lead_out_of_the_root(root: str, tmp_path: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.write_text("secret")
    for name, target in (("one", str(outside)), ("two", f"../../../{outside.name}"), ("three", "/proc/self/root")):
        (tmp_path / name).symlink_to(target)
        assert b"secret" not in rooted.read_file(root, f"/{name}")
    (tmp_path / "in").symlink_to("/etc/group")
    assert rooted.read_file(root, "/in").startswith(b"root")
    (tmp_path / "out").symlink_to("/../../../tmp")
    rooted.ensure_directory(root, "/made/by/me")
    assert (tmp_path / "made/by/me").is_dir()
    with pytest.raises(Permanent):
        rooted.ensure_directory(root, "/out/x")
    os.mkfifo(tmp_path / "fifo")
    assert rooted.read_file(root, "/fifo") == b""


# state --------------------------------------------------------------------------------------------------------------


def _record() -> ContainerRecord:
    return ContainerRecord(config(), IMAGE, "chain", ("/l",), ("sleep",), ())


def test_states_are_told_from_files_and_processes(tmp_path: Path) -> None:
    paths = Layout(str(tmp_path)).container("c")
    os.makedirs(paths.run)
    record, me = _record(), identify(os.getpid())
    assert me is not None

    def state(last: ProcessRecord | None, paused: bool = False) -> ContainerState:
        return observe(record, last, paths, "boot", lambda: paused).state

    now = datetime.now(UTC)
    running = ProcessRecord(1, 0, "boot", me, me, now)
    assert state(None) is ContainerState.CREATED
    assert state(ProcessRecord(1, 0, "boot")) is ContainerState.CREATED
    assert state(ProcessRecord(1, 0, "boot", error="why")) is ContainerState.EXITED
    assert state(running) is ContainerState.RUNNING
    assert state(running, paused=True) is ContainerState.PAUSED
    assert state(replace(running, boot="earlier")) is ContainerState.EXITED
    reused = Identity(me.pid, me.ticks + 1)
    assert state(replace(running, process=reused)) is ContainerState.RUNNING  # its monitor is about to tell
    gone = observe(record, replace(running, process=reused, monitor=reused), paths, "boot", lambda: False)
    assert (gone.state, gone.exit_code, gone.error) == (ContainerState.EXITED, 137, None)
    Path(paths.run, "exit").write_text("3")
    Path(paths.run, "oom").write_text("")
    told = observe(record, replace(running, process=reused, monitor=reused), paths, "boot", lambda: False)
    assert (told.exit_code, told.oom_killed, told.finished_at is not None) == (3, True, True)


def test_who_of_a_group_was_out_of_memory_is_for_the_kernel_to_say(tmp_path: Path) -> None:
    paths = Layout(str(tmp_path)).container("c")
    os.makedirs(paths.run)
    lone = _record()
    member = replace(lone, config=replace(lone.config, group=Group("g1")))
    last = ProcessRecord(1, 0, "boot", Identity(1, 1), Identity(1, 1))

    def told(record: ContainerRecord, kills: int) -> bool:
        return observe(record, last, paths, "boot", lambda: False, lambda: kills).oom_killed

    assert not told(member, 1)  # nobody has said anything yet, so the kernel is not asked
    Path(paths.run, "oom").write_text("")
    assert (told(member, 0), told(member, 1), told(lone, 0)) == (False, True, True)
    note_out_of_memory(paths)
    assert told(member, 0)


def test_a_record_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    shelf, path = Shelf(), str(tmp_path / "r.json")
    assert shelf.read(path, ProcessRecord) is None
    shelf.write(path, ProcessRecord(1, 2, "b", Identity(1, 2), None, datetime.now(UTC)))
    first = shelf.read(path, ProcessRecord)
    assert first is not None
    assert first.attempt == 2
    assert shelf.read(path, ProcessRecord) is first
    for text in ("", "{", '{"run": "x"}', "[" * 10_000):
        Path(path).write_text(text)
        assert shelf.read(path, ProcessRecord) is None


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    shelf, path = Shelf(), str(tmp_path / "c.json")
    record = _record()
    shelf.write(path, record)
    assert Shelf().read(path, ContainerRecord) == record


def test_exposed_ports_are_numbers() -> None:
    assert exposed_ports(IMAGE) == (53, 80)


@pytest.mark.parametrize(("said", "number"), [("", 15), ("SIGINT", 2), ("quit", 3), ("9", 9), ("99", 15), ("odd", 15)])
def test_stop_signals_by_name_and_number(said: str, number: int) -> None:
    assert stop_signal(replace(_record(), image=replace(IMAGE, stop_signal=said))) == number


def test_a_created_container_is_let_go_once(tmp_path: Path) -> None:
    program = OciProgram("crun", "/usr/bin/crun", "1", str(tmp_path))
    (tmp_path / "c").mkdir()
    assert program.release("c") is False
    os.mkfifo(tmp_path / "c/exec.fifo")
    reader = os.open(tmp_path / "c/exec.fifo", os.O_RDONLY | os.O_NONBLOCK)
    assert program.release("c") is True
    assert os.read(reader, 10) == b"\0"
    os.close(reader)
    assert program.release("c") is False
    program.forget("c")
    assert not (tmp_path / "c").exists()

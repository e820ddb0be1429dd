"""Control groups of version 2, on a directory that looks like one; version 1 is what the live tests run on."""

import time
from pathlib import Path

import pytest

from krater.agent.runtimes.oci import cgroups
from krater.errors import Temporary

MIB = 1 << 20


@pytest.fixture
def group(tmp_path: Path) -> Path:
    made = tmp_path / "c"
    made.mkdir()
    files = {
        "cpu.stat": "usage_usec 2500000\nuser_usec 1\n",
        "memory.current": f"{30 * MIB}\n",
        "memory.stat": f"anon 1\ninactive_file {10 * MIB}\n",
        "memory.max": f"{64 * MIB}\n",
        "memory.swap.max": "0\n",
        "memory.events": "oom 1\noom_kill 2\n",
        "io.stat": "8:0 rbytes=10 wbytes=20 rios=1\n8:16 rbytes=1 wbytes=2\n8:32\n",
        "cgroup.freeze": "0\n",
        "cgroup.events": "populated 1\nfrozen 1\n",
        "cgroup.procs": "",
        "cpu.max": "max 100000\n",
        "cpu.weight": "100\n",
    }
    for name, text in files.items():
        (made / name).write_text(text)
    return made


@pytest.fixture
def groups(tmp_path: Path, group: Path) -> cgroups.Version2:
    return cgroups.Version2(str(tmp_path))


def test_usage(groups: cgroups.Version2) -> None:
    assert groups.usage("c") == cgroups.Usage(2_500_000_000, 20 * MIB, 64 * MIB, 11, 22)
    assert groups.oom_kills("c") == 2
    assert groups.usage("gone") == cgroups.Usage(0, 0, 0, 0, 0)


def test_no_limit_is_told_as_none(groups: cgroups.Version2, group: Path) -> None:
    (group / "memory.max").write_text("max\n")
    assert groups.usage("c").memory_limit == 0


def test_limits(groups: cgroups.Version2, group: Path) -> None:
    groups.limit("c", 0.5, 32)
    assert (group / "cpu.max").read_text() == "50000 100000"
    assert (group / "cpu.weight").read_text() == "20"
    assert (group / "memory.max").read_text() == str(32 * MIB)
    groups.limit("c", 0, 0)
    assert (group / "cpu.max").read_text() == "max 100000"
    assert (group / "memory.max").read_text() == (group / "memory.swap.max").read_text() == "max"


def test_a_share_may_be_another_than_the_limit(groups: cgroups.Version2, group: Path) -> None:
    groups.limit("c", 0, 0, 0.5)
    assert ((group / "cpu.max").read_text(), (group / "cpu.weight").read_text()) == ("max 100000", "20")
    groups.limit("c", 0.001, 0, 0)
    assert ((group / "cpu.max").read_text(), (group / "cpu.weight").read_text()) == ("1000 100000", "39")


def test_a_container_is_found_where_it_lies(groups: cgroups.Version2, tmp_path: Path) -> None:
    (tmp_path / "whole" / "part").mkdir(parents=True)
    assert [groups.find(name) for name in ("c", "part", "nowhere")] == ["c", "whole/part", "nowhere"]
    assert cgroups.Version2(str(tmp_path / "gone")).find("c") == "c"


def test_a_limit_below_what_is_in_use_is_refused_because_the_kernel_would_kill(groups: cgroups.Version2) -> None:
    with pytest.raises(Temporary, match="more than 16 MiB"):
        groups.limit("c", 1, 16)


def test_a_limit_that_is_there_already_can_be_set_again_whatever_is_in_use(
    groups: cgroups.Version2, group: Path
) -> None:
    (group / "memory.current").write_text(f"{65 * MIB}\n")  # the kernel lets itself have a little more
    groups.limit("c", 1, 64)
    assert (group / "memory.max").read_text() == str(64 * MIB)


def test_freezing(groups: cgroups.Version2) -> None:
    assert not groups.frozen("c")
    groups.freeze("c", True)
    assert groups.frozen("c")
    groups.freeze("c", False)
    assert not groups.frozen("c")


def test_processes_that_do_not_freeze_are_let_go(
    groups: cgroups.Version2, group: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (group / "cgroup.events").write_text("frozen 0\n")
    ticks = iter(range(0, 1000, 2))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(ticks)))
    with pytest.raises(Temporary):
        groups.freeze("c", True)
    assert not groups.frozen("c")


def test_what_is_gone_is_gone(groups: cgroups.Version2) -> None:
    groups.kill("gone")
    groups.remove("gone")
    assert groups.pids("gone") == []
    assert not groups.frozen("gone")

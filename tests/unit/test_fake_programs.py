"""What the fake engine's processes do."""

import pytest

from krater.agent.runtimes.fake_programs import Program, program_of


@pytest.mark.parametrize(
    ("line", "seconds"),
    [("sleep 5", 5.0), ("echo up; exec sleep 3600", 3600.0), ("exec sleep inf", None), ("sleep 5; true", 0.0)],
)
def test_a_shell_does_the_last_command_of_its_line(line: str, seconds: float | None) -> None:
    assert program_of(("sh", "-c", line)).seconds == seconds


def test_what_it_does_not_know_runs_as_a_server_would() -> None:
    assert program_of(("httpd", "-f")) == Program()

"""Settings: read, checked, refused with the reason."""

from pathlib import Path

import pytest

from krater.config import load, sample
from krater.errors import Invalid


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "krater.conf"
    path.write_text(text)
    return path


def test_defaults_need_no_file() -> None:
    assert load().api.port == 9517


def test_the_file_and_then_the_command_line_decide(tmp_path: Path) -> None:
    path = written(tmp_path, "[api]\nport = 1\nhost_ip = ::1\n[agent]\nlabels = disk:ssd,rack:4\n")
    settings = load(path, {("api", "port"): "2"})
    assert (settings.api.port, settings.api.host_ip) == (2, "::1")
    assert settings.agent.labels == {"disk": "ssd", "rack": "4"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[api]\nprot = 1", r"\[api\] has no option 'prot'; known are .*port"),
        ("[apy]\nport = 1", r"no section \[apy\]; known are .*api"),
        ("[api]\nport = many", "option port is not valid: invalid literal"),
        ("[api]\nport = 70000", "port is not valid: Should be less than or equal to 65535"),
        ("[scheduler]\nweigher = random", r"weigher is not valid: Valid values are \[spread, binpack\]"),
        ("[network]\npool = everywhere", "pool: 'everywhere' does not appear to be"),
        ("[network]\npool = fd00::/48", "pool: fd00::/48 is not an IPv4 range"),
        ("[network]\nprefix = 9", "a /9 does not fit into pool"),
        ("no section", "cannot be read"),
    ],
)
def test_mistakes_are_refused_with_the_reason(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(Invalid, match=reason):
        load(written(tmp_path, text))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="cannot be read"):
        load(tmp_path / "missing.conf")


def test_an_override_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(Invalid, match=r"option port of \[api\]"):
        load(None, {("api", "port"): "many"})


def test_a_bad_value_in_the_file_is_not_blamed_on_an_override(tmp_path: Path) -> None:
    path = written(tmp_path, "[api]\nport = 0x\n")
    with pytest.raises(Invalid, match=r"krater.conf: \[api\] Value for option port is not valid"):
        load(path, {("core", "directory"): "/srv"})


@pytest.mark.parametrize(
    ("section", "option"),
    [("api", "policy_file"), ("registries", "ca_file"), ("registries", "certificates"), ("gateway", "tls_certificate")],
)
def test_a_file_that_is_named_has_to_be_there(tmp_path: Path, section: str, option: str) -> None:
    with pytest.raises(Invalid, match=rf"\[{section}\] {option}: '.*nowhere': No such file"):
        load(None, {(section, option): str(tmp_path / "nowhere")})


def test_a_directory_is_no_policy_file(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"\[api\] policy_file: .* is not a file"):
        load(None, {("api", "policy_file"): str(tmp_path)})


def test_the_sample_is_a_valid_file_that_changes_nothing(tmp_path: Path) -> None:
    assert load(written(tmp_path, sample())) == load()


def test_the_sample_names_every_option() -> None:
    text = sample()
    for option in ("directory", "port", "weigher", "pool_v6", "plain_http_registries"):
        assert f"#{option} = " in text

"""Where the client finds whom to ask, and as whom."""

from pathlib import Path

import pytest

from krater.client import AccessError, find_access

FILE = 'url: "http://a:1"\nusername: "root"\npassword: "a \\"b\\" \\u00fc"\nproject: "main"\n'


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "client.yaml"
    path.write_text("# made by Krater\n---\n" + FILE)
    return str(path)


def test_the_file_is_read_without_a_yaml_parser(file: str) -> None:
    access = find_access(client_file=file, environ={})
    assert (access.url, access.username, access.password, access.project) == ("http://a:1", "root", 'a "b" ü', "main")
    assert access.source == file


def test_options_beat_the_environment_which_beats_the_file(file: str) -> None:
    environ = {"KRATER_CLIENT_FILE": file, "KRATER_PROJECT": "two", "KRATER_CACERT": "/two"}
    access = find_access({"project": "three", "username": None}, environ=environ)
    assert (access.project, access.cacert, access.password) == ("three", "/two", 'a "b" ü')


def test_the_users_own_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "krater").mkdir()
    (tmp_path / "krater" / "client.yaml").write_text("url: http://bare:2\nusername: 'it''s me'\n")
    access = find_access(environ={"XDG_CONFIG_HOME": str(tmp_path)})
    assert (access.url, access.username) == ("http://bare:2", "it's me")


@pytest.mark.parametrize("url", ["http://elsewhere:1", "https://a:1", "http://a:2"])
def test_a_password_is_not_sent_to_another_address(file: str, url: str) -> None:
    access = find_access({"url": url}, client_file=file, environ={})
    assert (access.url, access.username, access.password, access.source) == (url, None, None, "nowhere")


@pytest.mark.parametrize("url", ["http://a:1/", "http://a:1/v1", "http://a:1/v1/"])
def test_an_address_written_otherwise_is_the_same(file: str, url: str) -> None:
    assert find_access({"url": url}, client_file=file, environ={}).password == 'a "b" ü'


def test_another_user_does_not_get_the_files_password(file: str) -> None:
    access = find_access({"username": "bob"}, client_file=file, environ={"KRATER_PASSWORD": "x"})
    assert (access.url, access.username, access.password, access.project) == ("http://a:1", "bob", "x", None)
    assert access.source == "the environment"


def test_a_token_replaces_the_login(file: str) -> None:
    access = find_access({"token": "t"}, client_file=file, environ={})
    assert (access.token, access.username, access.password, access.source) == ("t", None, None, "the command line")


@pytest.mark.parametrize(
    ("text", "reason"),
    [("nonsense", "line 1: expected `key"), ('url: "half', "line 1: the quotes"), ("user: x", "url, username")],
)
def test_a_file_that_makes_no_sense_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "f").write_text(text)
    with pytest.raises(AccessError, match=reason):
        find_access(client_file=str(tmp_path / "f"), environ={})


def test_a_named_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AccessError, match="cannot be read: No such file"):
        find_access(environ={"KRATER_CLIENT_FILE": str(tmp_path / "none")})

"""The accounts' file: private, replaced whole, edited in turns, reloaded when it changes."""

import stat
import threading
import time
from pathlib import Path

import pytest
import yaml

from krater.cloud.local.accounts import (
    Accounts,
    add_user,
    assign,
    remove_user,
    set_password,
    unassign,
)
from krater.cloud.local.accounts_file import LOOK_EVERY, AccountsFile, parse
from krater.cloud.local.credentials import ensure_accounts, refresh_examples
from krater.cloud.local.tokens import TokenKeys
from krater.config import ApiSettings, CoreSettings, Settings
from krater.errors import Conflict, Invalid, NotFound, Unavailable


def ann() -> Accounts:
    return add_user(Accounts(), "ann", "hash", "kitchen", "member")


def test_a_user_comes_with_a_project_and_a_role() -> None:
    accounts = ann()
    (user,), (project,) = accounts.users, accounts.projects
    assert accounts.projects_of(user.id) == (project,)
    assert accounts.roles_of(user.id, project.id) == ("member", "reader")


def test_a_second_user_may_share_the_project() -> None:
    accounts = add_user(ann(), "bob", "hash", "kitchen", "admin")
    assert len(accounts.projects) == 1
    assert accounts.roles_of(accounts.users[1].id, accounts.projects[0].id) == ("admin", "member", "reader")


def test_one_user_may_have_several_projects_and_a_role_is_replaced_not_added() -> None:
    accounts = assign(assign(ann(), "ann", "cellar", "admin"), "ann", "cellar", "reader")
    user = accounts.users[0]
    assert [p.name for p in accounts.projects_of(user.id)] == ["kitchen", "cellar"]
    assert accounts.roles_of(user.id, accounts.projects[1].id) == ("reader",)


def test_names_are_taken_once_and_ids_stay_when_the_password_changes() -> None:
    with pytest.raises(Conflict):
        add_user(ann(), "ann", "hash", "kitchen", "member")
    before = ann()
    after = set_password(before, "ann", "other")
    assert (after.users[0].id, after.users[0].password) == (before.users[0].id, "other")


def test_removing_a_user_leaves_the_project() -> None:
    gone = remove_user(ann(), "ann")
    assert (gone.users, gone.roles, len(gone.projects)) == ((), (), 1)


def test_a_role_can_be_taken_away() -> None:
    accounts = unassign(ann(), "ann", "kitchen")
    assert accounts.projects_of(accounts.users[0].id) == ()


@pytest.mark.parametrize("name", ["", " ann", "a" * 65, "a\nb", "a:b", "a\x00"])
def test_names_that_cannot_be_typed_are_refused(name: str) -> None:
    with pytest.raises(Invalid):
        add_user(Accounts(), name, "hash", "kitchen", "member")


def test_unknown_roles_and_users_are_refused() -> None:
    with pytest.raises(Invalid):
        assign(ann(), "ann", "kitchen", "king")
    with pytest.raises(NotFound):
        set_password(ann(), "bob", "hash")


def test_what_is_written_is_read_and_only_the_owner_may(tmp_path: Path) -> None:
    file = AccountsFile(tmp_path / "deep" / "accounts.yaml")
    written = file.edit(lambda held: add_user(held, "ann", "hash", "kitchen", "member"))
    assert file.current() == written == AccountsFile(file.path).current()
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700
    assert sorted(p.name for p in file.path.parent.iterdir()) == ["accounts.lock", "accounts.yaml"]


def test_a_change_by_another_process_counts_at_once(tmp_path: Path) -> None:
    mine, other = AccountsFile(tmp_path / "a.yaml"), AccountsFile(tmp_path / "a.yaml")
    mine.edit(lambda held: add_user(held, "ann", "hash", "kitchen", "member"))
    assert len(mine.current().users) == 1
    other.edit(lambda held: remove_user(held, "ann"))
    time.sleep(LOOK_EVERY)
    assert mine.current().users == ()


def test_editors_at_the_same_time_take_turns(tmp_path: Path) -> None:
    def add(number: int) -> None:
        file = AccountsFile(tmp_path / "a.yaml")
        file.edit(lambda held: add_user(held, f"u{number}", "hash", "p", "member"))

    threads = [threading.Thread(target=add, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(AccountsFile(tmp_path / "a.yaml").current().users) == 8


def test_a_slip_of_the_hand_leaves_the_last_good_accounts(tmp_path: Path) -> None:
    file = AccountsFile(tmp_path / "a.yaml")
    good = file.edit(lambda held: add_user(held, "ann", "hash", "kitchen", "member"))
    assert file.current() == good
    file.path.write_text("users: [oops")
    time.sleep(LOOK_EVERY)
    assert file.current() == good
    with pytest.raises(Unavailable):
        AccountsFile(file.path).current()
    with pytest.raises(Invalid):
        file.edit(lambda held: held)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "users: 3",
        "users: [{id: a, name: b}]",
        "users: [{id: 1, name: b, password: c}]",
        "users: [{id: a, name: b, password: c}, {id: a, name: d, password: e}]",
        "roles: [{user: a, project: b, role: king}]",
        "users: !!python/object/apply:os.system ['true']",
    ],
)
def test_files_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse(text)


def settings(directory: Path) -> Settings:
    return Settings(core=CoreSettings(directory=str(directory)), api=ApiSettings(host_ip="0.0.0.0", port=1234))


def test_the_first_start_makes_an_administrator_and_ready_client_files(tmp_path: Path) -> None:
    login = ensure_accounts(settings(tmp_path))
    assert login is not None
    assert len(login.password) >= 20
    assert login.password not in repr(login)
    assert ensure_accounts(settings(tmp_path)) is None
    auth = yaml.safe_load((tmp_path / "clouds.yaml").read_text())["clouds"]["krater"]["auth"]
    assert (auth["auth_url"], auth["password"]) == ("http://127.0.0.1:1234/identity/v3", login.password)
    client = yaml.safe_load((tmp_path / "client.yaml").read_text())
    assert client == {
        "url": "http://127.0.0.1:1234",
        "username": "admin",
        "password": login.password,
        "project": "admin",
    }
    assert f"export OS_PASSWORD={login.password}\n" in (tmp_path / "openrc").read_text()
    for name in ("clouds.yaml", "client.yaml", "openrc", "accounts.yaml"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert login.password not in (tmp_path / "accounts.yaml").read_text()


def test_the_examples_follow_a_new_password_of_their_user_only(tmp_path: Path) -> None:
    login = ensure_accounts(settings(tmp_path))
    assert login is not None
    refresh_examples(settings(tmp_path), "somebody", "else")
    assert login.password in (tmp_path / "openrc").read_text()
    refresh_examples(settings(tmp_path), "admin", "it's new")
    assert yaml.safe_load((tmp_path / "client.yaml").read_text())["password"] == "it's new"


def test_the_key_file_is_made_private_and_a_broken_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "token.keys"
    TokenKeys.load(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    TokenKeys.load(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for text in ("", "short"):
        path.write_text(text)
        with pytest.raises(Invalid):
            TokenKeys.load(path)

"""`krater account`, on an accounts file."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from krater.cli.account import account


def said(directory: Path, *words: str) -> str:
    done = CliRunner().invoke(account, [*words, "--directory", str(directory)], input="secret\n")
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.thorough
def test_who_takes_the_last_administrator_away_is_told(tmp_path: Path) -> None:
    said(tmp_path, "add", "root", "--project", "shop", "--role", "admin")
    said(tmp_path, "add", "anna", "--project", "shop")
    assert "Nobody" not in said(tmp_path, "rm", "anna")
    told = said(tmp_path, "assign", "root", "shop", "--role", "reader")
    assert "Nobody is an administrator now. `krater account assign USER PROJECT --role admin` makes one." in told
    assert "Nobody" not in said(tmp_path, "assign", "root", "shop", "--role", "admin")
    assert "Nobody" in said(tmp_path, "rm", "root")

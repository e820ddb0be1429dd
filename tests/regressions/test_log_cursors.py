"""Cursors of logs are headers that anybody may write."""

from pathlib import Path

import pytest

from krater.agent.logs import read_log
from krater.bus.messages import Logs
from krater.errors import Invalid


@pytest.mark.parametrize("text", ["{inode}/-5//", "-{inode}/0//", "{inode}/²//", "{inode}/1_0//", "{inode}/0/x/", "{inode}"])
def test_a_cursor_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    log = tmp_path / "container.log"
    log.write_bytes(b"2030-01-01T00:00:00.000000000+00:00 stdout F hello\n")
    request = Logs("id", stdout=True, stderr=True, timestamps=False, tail=None, since=None, limit=1000)
    with pytest.raises(Invalid):
        read_log(str(log), request, text.format(inode=log.stat().st_ino))

"""What a log line says, whoever wrote it."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from krater.telemetry import start_logging


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What is logged; logging is as before afterwards."""
    root = logging.getLogger()
    handlers, level, before = root.handlers[:], root.level, structlog.get_config()
    out = io.StringIO()
    start_logging(stream=out)
    yield out
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**before)


def test_a_library_s_traceback_is_in_the_log(lines: io.StringIO) -> None:
    try:
        raise ValueError("this went wrong")
    except ValueError as error:
        logging.getLogger("uvicorn.error").error("Exception in ASGI application", exc_info=error)
    line = json.loads(lines.getvalue())
    assert "ValueError: this went wrong" in line["exception"]
    assert "test_telemetry.py" in line["exception"]


def test_values_of_keys_that_name_secrets_are_blanked(lines: io.StringIO) -> None:
    structlog.get_logger("krater.somewhere").warning("a fact", password="hunter2")
    assert "hunter2" not in lines.getvalue()

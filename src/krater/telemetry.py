"""Logs and metrics. One line a fact, as `key=value` on a terminal and JSON elsewhere; secrets never come here.

Modules log with `structlog.get_logger(__name__)`; this module alone decides where that goes and how it looks.
"""

import logging
import sys
from typing import Any

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest

METRICS_TYPE = CONTENT_TYPE_LATEST
REGISTRY = CollectorRegistry()

REQUESTS = Counter("krater_requests", "API requests answered.", ["method", "status"], registry=REGISTRY)
STARTS = Counter("krater_container_starts", "Processes started by this node.", registry=REGISTRY)
STEP_SECONDS = Histogram(
    "krater_step_seconds",
    "Time one step of a node took.",
    ["step"],
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100),
    registry=REGISTRY,
)

_SECRET_KEYS = frozenset({"password", "token", "secret", "authorization", "auth"})


def start_logging(*, debug: bool = False, quiet: bool = False, stream: Any = None) -> None:
    """Send everything that is logged, ours and the libraries', to one stream (stderr). Call once, at start.

    `quiet` is for commands: only what went wrong is worth a line between theirs.
    """
    out = stream or sys.stderr
    renderer = _for_people() if out.isatty() else structlog.processors.JSONRenderer()
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        hide_secrets,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.processors.format_exc_info,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    foreign = [*shared, structlog.processors.format_exc_info]  # or a library's traceback is only an object's address
    handler = logging.StreamHandler(out)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=foreign))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING if quiet else logging.DEBUG if debug else logging.INFO)
    for chatty in ("alembic", "uvicorn.access", "asyncio", "oslo_policy"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger("oslo_policy._parser").setLevel(logging.CRITICAL)  # api/policies.py says it better, and once


def _for_people() -> Any:
    """Lines for a terminal. Tracebacks stay plain: prettier ones show the values of variables, which may be secrets."""
    return structlog.dev.ConsoleRenderer(colors=True, exception_formatter=structlog.dev.plain_traceback)


def hide_secrets(_: Any, __: str, event: Any) -> Any:
    """Blank the values of keys that name secrets, whoever logs them."""
    for key in event:
        if key.lower() in _SECRET_KEYS:
            event[key] = "***"
    return event


def metrics_page() -> bytes:
    """All metrics in Prometheus' text form."""
    return generate_latest(REGISTRY)

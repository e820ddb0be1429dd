"""All tables, as SQLAlchemy Core knows them. Beside each column stands who writes it.

The SQL stays within what SQLite, PostgreSQL and MariaDB share. Moments are whole microseconds since 1970 (UTC), cores
are whole millionths: both add, compare and sort exactly everywhere. Documents are JSON text (see `documents.py`);
what is filtered, sorted or guarded by is a column of its own. `migrations/` makes the same tables, step by step;
a test holds the two together.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.dialects import mysql

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MILLION = 1_000_000


def to_micros(moment: datetime) -> int:
    """A moment as it is stored."""
    return (moment - _EPOCH) // _MICROSECOND


def to_millionths(cores: float) -> int:
    """Cores as they are stored."""
    return round(cores * _MILLION)


def to_cores(millionths: int) -> float:
    """Cores as the model has them."""
    return millionths / _MILLION


class Moment(TypeDecorator[datetime]):
    """An aware UTC datetime, the same on every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else to_micros(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else _EPOCH + timedelta(microseconds=value)


NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}
DOCUMENT = Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")
SEQ = BigInteger().with_variant(Integer(), "sqlite")
ID, NAME, WORD, ADDRESS = String(64), String(255), String(32), String(45)

# A number of `seq` is never given twice, even when its row is gone: the decode cache is keyed by it.
# Binary collation: names differ by case everywhere, as they do on SQLite and PostgreSQL.
OPTIONS: dict[str, Any] = {
    "sqlite_autoincrement": True,
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
    "mariadb_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_bin",
}
_KEYED = {name: value for name, value in OPTIONS.items() if name != "sqlite_autoincrement"}

metadata = MetaData(naming_convention=NAMES)

workloads = Table(
    "workloads",
    metadata,
    Column("seq", SEQ, primary_key=True),  # the store
    Column("id", ID, nullable=False),  # API
    Column("kind", WORD, nullable=False),  # API
    Column("project_id", ID, nullable=False),  # API
    Column("user_id", ID, nullable=False),  # API
    Column("name", NAME, nullable=False),  # API
    Column("created_at", Moment, nullable=False),  # API
    Column("updated_at", Moment),  # the store, with every change
    Column("version", Integer, nullable=False),  # the store, with every change
    Column("spec", DOCUMENT, nullable=False),  # API
    Column("image", String(512), nullable=False),  # API: out of spec
    Column("cpu", BigInteger, nullable=False),  # API: out of spec
    Column("memory", BigInteger, nullable=False),  # API: out of spec
    Column("disk", BigInteger, nullable=False),  # API: out of spec
    Column("containers", Integer, nullable=False),  # API: out of spec
    Column("auto_remove", SmallInteger, nullable=False),  # API: out of spec
    Column("intent", DOCUMENT, nullable=False),  # API
    Column("generation", Integer, nullable=False),  # API: out of intent
    Column("removal", Text),  # controller
    Column("placement", DOCUMENT, nullable=False),  # controller
    Column("node", ID),  # controller: out of placement
    Column("observed", DOCUMENT, nullable=False),  # controller, folding the node's reports
    Column("unfinished", SmallInteger, nullable=False),  # the store: out of intent, removal and placement
    UniqueConstraint("id"),
    Index(None, "project_id", "kind", "seq"),
    Index(None, "name", "project_id", "kind"),
    Index(None, "node"),
    Index(None, "unfinished", "seq"),
    **OPTIONS,
)

members = Table(  # containers of capsules: found by their own id
    "members",
    metadata,
    Column("id", ID, primary_key=True),  # API
    Column("workload", SEQ, ForeignKey("workloads.seq", ondelete="CASCADE"), nullable=False),  # API
    Index(None, "workload"),
    **_KEYED,
)

actions = Table(
    "actions",
    metadata,
    Column("seq", SEQ, primary_key=True),  # the store
    Column("workload", ID, nullable=False),  # API; no foreign key: history outlives the workload
    Column("action", WORD, nullable=False),  # API
    Column("request_id", ID, nullable=False),  # API
    Column("user_id", ID, nullable=False),  # API
    Column("project_id", ID, nullable=False),  # API
    Column("generation", Integer, nullable=False),  # API
    Column("start_time", Moment, nullable=False),  # API
    Column("finish_time", Moment),  # controller
    Column("message", Text),  # controller
    Column("event_count", Integer, nullable=False),  # controller
    Index(None, "workload", "seq"),
    Index(None, "finish_time"),
    **OPTIONS,
)

action_events = Table(
    "action_events",
    metadata,
    Column("seq", SEQ, primary_key=True),  # the store
    Column("action", SEQ, ForeignKey("actions.seq", ondelete="CASCADE"), nullable=False),  # controller
    Column("event", NAME, nullable=False),  # controller, from the node's report
    Column("start_time", Moment, nullable=False),  # controller, from the node's report
    Column("finish_time", Moment),  # controller, from the node's report
    Column("result", WORD, nullable=False),  # controller, from the node's report
    Column("details", Text),  # controller, from the node's report
    Index(None, "action"),
    **OPTIONS,
)

nodes = Table(
    "nodes",
    metadata,
    Column("id", ID, primary_key=True),  # controller, from the node's report
    Column("host", NAME, nullable=False),  # controller, from the node's report
    Column("availability_zone", NAME, nullable=False),  # controller, from the node's report
    Column("inventory", DOCUMENT, nullable=False),  # controller, from the node's report
    Column("cpus", Integer, nullable=False),  # controller: out of inventory
    Column("memory", BigInteger, nullable=False),  # controller: out of inventory
    Column("disk", BigInteger, nullable=False),  # controller: out of inventory
    Column("last_seen", Moment, nullable=False),  # controller, from the node's report
    Column("created_at", Moment, nullable=False),  # the store
    Column("report_count", BigInteger, nullable=False),  # the store
    Column("disabled", SmallInteger, nullable=False),  # API: the operator's word
    Column("disabled_reason", Text),  # API: the operator's word
    Column("forced_down", SmallInteger, nullable=False),  # API: the operator's word
    Column("used_cpu", BigInteger, nullable=False),  # controller: sum of claims
    Column("used_memory", BigInteger, nullable=False),  # controller: sum of claims
    Column("used_disk", BigInteger, nullable=False),  # controller: sum of claims
    Column("used_containers", Integer, nullable=False),  # controller: sum of claims
    UniqueConstraint("host"),
    **_KEYED,
)

claims = Table(
    "claims",
    metadata,
    Column("workload", ID, primary_key=True),  # controller; no foreign key: garbage collection compares
    Column("node", ID, nullable=False),  # controller
    Column("cpu", BigInteger, nullable=False),  # controller
    Column("memory", BigInteger, nullable=False),  # controller
    Column("disk", BigInteger, nullable=False),  # controller
    Column("containers", Integer, nullable=False),  # controller
    Index(None, "node"),
    **_KEYED,
)

quota_limits = Table(
    "quota_limits",
    metadata,
    Column("kind", WORD, primary_key=True),  # API: "project" or "class"
    Column("owner", NAME, primary_key=True),  # API: the project's id or the class's name
    Column("containers", BigInteger),  # API: the operator's word
    Column("cpu", BigInteger),  # API: the operator's word
    Column("memory", BigInteger),  # API: the operator's word
    Column("disk", BigInteger),  # API: the operator's word
    **_KEYED,
)

quota_usage = Table(
    "quota_usage",
    metadata,
    Column("project_id", ID, primary_key=True),  # API adds, controller gives back, each beside the workload
    Column("containers", BigInteger, nullable=False),
    Column("cpu", BigInteger, nullable=False),
    Column("memory", BigInteger, nullable=False),
    Column("disk", BigInteger, nullable=False),
    **_KEYED,
)

networks = Table(
    "networks",
    metadata,
    Column("seq", SEQ, primary_key=True),  # the store
    Column("id", ID, nullable=False),  # API
    Column("name", NAME, nullable=False),  # API
    Column("project_id", ID, nullable=False),  # API
    Column("shared", SmallInteger, nullable=False),  # API
    Column("internal", SmallInteger, nullable=False),  # API
    Column("mtu", Integer, nullable=False),  # API
    UniqueConstraint("id"),
    UniqueConstraint("project_id", "name"),
    **OPTIONS,
)

subnets = Table(
    "subnets",
    metadata,
    Column("id", ID, primary_key=True),  # API
    Column("network", ID, ForeignKey("networks.id", ondelete="CASCADE"), nullable=False),  # API
    Column("rank", Integer, nullable=False),  # the store: its place in the network's list
    Column("cidr", String(49), nullable=False),  # API
    Column("gateway", ADDRESS),  # API
    Column("lowest", String(33), nullable=False),  # the store: first address of the range, comparable
    Column("highest", String(33), nullable=False),  # the store: last one
    Column("cursor", BigInteger, nullable=False),  # the store: where to look for the next free address
    UniqueConstraint("lowest"),
    Index(None, "network"),
    **_KEYED,
)

ports = Table(
    "ports",
    metadata,
    Column("seq", SEQ, primary_key=True),  # the store
    Column("id", ID, nullable=False),  # API (the user's own), controller
    Column("network", ID, ForeignKey("networks.id"), nullable=False),  # API, controller
    Column("project_id", ID, nullable=False),  # API, controller
    Column("mac", String(17), nullable=False),  # API, controller
    Column("device", ID, nullable=False),  # controller
    Column("owned", SmallInteger, nullable=False),  # API, controller
    UniqueConstraint("id"),
    UniqueConstraint("mac"),
    Index(None, "network"),
    Index(None, "device"),
    Index(None, "project_id"),
    **OPTIONS,
)

addresses = Table(
    "addresses",
    metadata,
    Column("network", ID, primary_key=True),  # the store
    Column("address", ADDRESS, primary_key=True),  # the store
    Column("port", ID, ForeignKey("ports.id", ondelete="CASCADE"), nullable=False),  # the store
    Column("rank", Integer, nullable=False),  # the store: its place in the port's list
    Column("subnet", ID, ForeignKey("subnets.id"), nullable=False),  # the store
    Column("position", BigInteger),  # the store: distance from the start of the range, NULL in very large ones
    Index(None, "port"),
    UniqueConstraint("subnet", "position"),
    **_KEYED,
)

images = Table(
    "images",
    metadata,
    Column("seq", SEQ, primary_key=True),  # the store
    Column("id", ID, nullable=False),  # API, or the store for what a node just has
    Column("repo", NAME, nullable=False),  # API, node's report
    Column("tag", String(128), nullable=False),  # API, node's report
    Column("node", ID, nullable=False),  # API, node's report
    Column("project_id", ID, nullable=False),  # API
    Column("user_id", ID, nullable=False),  # API
    Column("created_at", Moment, nullable=False),  # API, node's report
    Column("wanted", SmallInteger, nullable=False),  # API
    Column("removing", SmallInteger, nullable=False),  # API
    Column("image_id", String(128)),  # controller, from the node's report
    Column("size", BigInteger),  # controller, from the node's report
    Column("failure", Text),  # controller, from the node's report
    UniqueConstraint("id"),
    UniqueConstraint("node", "repo", "tag"),
    **OPTIONS,
)

revoked_tokens = Table(
    "revoked_tokens",
    metadata,
    Column("id", String(128), primary_key=True),  # API
    Column("expires_at", Moment, nullable=False),  # API
    Index(None, "expires_at"),
    **_KEYED,
)

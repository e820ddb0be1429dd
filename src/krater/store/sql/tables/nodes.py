"""Nodes, what is claimed of them, and their images. Beside each column stands who writes it."""

from sqlalchemy import BigInteger, Column, Index, Integer, SmallInteger, String, Table, Text, UniqueConstraint

from krater.store.sql.tables.kinds import DOCUMENT, ID, KEYED, NAME, OPTIONS, SEQ, Moment, metadata

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
    **KEYED,
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
    Column("cpus", String(2048), nullable=False, server_default=""),  # controller: its dedicated processors
    Index(None, "node"),
    **KEYED,
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

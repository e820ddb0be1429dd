"""Networks, their ranges and the ports on them. Beside each column stands who writes it."""

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, SmallInteger, String, Table, UniqueConstraint

from krater.store.sql.tables.kinds import ADDRESS, ID, KEYED, NAME, OPTIONS, SEQ, metadata

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
    **KEYED,
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
    **KEYED,
)

"""Security groups, their rules and who is in them. Beside each column stands who writes it."""

from sqlalchemy import Column, ForeignKey, Index, Integer, SmallInteger, String, Table, UniqueConstraint

from krater.store.sql.tables.kinds import ID, KEYED, NAME, OPTIONS, SEQ, WORD, metadata

security_groups = Table(
    "security_groups",
    metadata,
    Column("seq", SEQ, primary_key=True),  # the store
    Column("id", ID, nullable=False),  # API
    Column("project_id", ID, nullable=False),  # API
    Column("name", NAME, nullable=False),  # API
    Column("description", NAME, nullable=False),  # API
    Column("device", ID, nullable=False),  # API: the workload it was made for, or ""
    UniqueConstraint("id"),
    Index(None, "project_id", "name"),
    Index(None, "device"),
    **OPTIONS,
)

security_rules = Table(
    "security_rules",
    metadata,
    Column("seq", SEQ, primary_key=True),  # the store
    Column("id", ID, nullable=False),  # API
    Column("owner", ID, ForeignKey("security_groups.id", ondelete="CASCADE"), nullable=False),  # API: its group
    Column("direction", WORD, nullable=False),  # API
    Column("version", SmallInteger, nullable=False),  # API
    Column("protocol", WORD),  # API
    Column("lowest", Integer),  # API
    Column("highest", Integer),  # API
    Column("remote_cidr", String(49)),  # API
    Column("remote_group", ID),  # API
    UniqueConstraint("id"),
    Index(None, "owner"),
    Index(None, "remote_group"),
    **OPTIONS,
)

security_members = Table(
    "security_members",
    metadata,
    Column("device", ID, primary_key=True),  # API: a workload, or a port that a user keeps
    Column("owner", ID, ForeignKey("security_groups.id"), primary_key=True),  # API: its group
    Column("rank", Integer, nullable=False),  # the store: its place in the device's list
    Index(None, "owner"),
    **KEYED,
)

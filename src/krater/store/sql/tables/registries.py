"""Registries of projects, and which workloads come from them. Beside each column stands who writes it."""

from sqlalchemy import Column, ForeignKey, Index, String, Table, Text, UniqueConstraint

from krater.store.sql.tables.kinds import ID, KEYED, NAME, OPTIONS, SEQ, Moment, metadata

registries = Table(
    "registries",
    metadata,
    Column("seq", SEQ, primary_key=True),  # the store
    Column("id", ID, nullable=False),  # API
    Column("project_id", ID, nullable=False),  # API
    Column("user_id", ID, nullable=False),  # API
    Column("name", NAME),  # API
    Column("domain", String(255), nullable=False),  # API
    Column("username", NAME),  # API
    Column("sealed", Text),  # API: the password, encrypted; and the operator, with another key
    Column("created_at", Moment, nullable=False),  # API
    Column("updated_at", Moment),  # API
    UniqueConstraint("id"),
    Index(None, "project_id", "seq"),
    **OPTIONS,
)

registry_uses = Table(
    "registry_uses",
    metadata,
    Column("workload", ID, ForeignKey("workloads.id", ondelete="CASCADE"), primary_key=True),  # API
    Column("registry", ID, ForeignKey("registries.id"), primary_key=True),  # API
    Index(None, "registry"),
    **KEYED,
)

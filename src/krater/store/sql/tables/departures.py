"""Containers that are gone. Beside each column stands who writes it."""

from sqlalchemy import Column, Index, Table

from krater.store.sql.tables.kinds import ID, KEYED, NAME, Moment, metadata

departures = Table(
    "departures",
    metadata,
    Column("id", ID, primary_key=True),  # controller
    Column("project_id", ID, nullable=False),  # controller, out of the workload
    Column("user_id", ID, nullable=False),  # controller, out of the workload
    Column("name", NAME, nullable=False),  # controller, out of the workload
    Column("node", ID, nullable=False),  # controller, out of the placement
    Column("gone_at", Moment, nullable=False),  # controller
    Index(None, "name", "project_id"),
    Index(None, "gone_at"),
    **KEYED,
)

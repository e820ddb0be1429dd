"""Volumes and the contents of injected files. Beside each column stands who writes it."""

from sqlalchemy import Column, Index, Integer, LargeBinary, SmallInteger, Table, Text, UniqueConstraint
from sqlalchemy.dialects import mysql

from krater.store.sql.tables.kinds import ID, KEYED, NAME, OPTIONS, SEQ, Moment, metadata

volumes = Table(
    "volumes",
    metadata,
    Column("seq", SEQ, primary_key=True),  # the store
    Column("id", ID, nullable=False),  # API
    Column("project_id", ID, nullable=False),  # API
    Column("name", NAME),  # API; NULL when it was made for its workload, or is being removed
    Column("size", Integer, nullable=False),  # API
    Column("created_at", Moment, nullable=False),  # API
    Column("auto_remove", SmallInteger, nullable=False),  # API
    Column("workload", ID, nullable=False),  # API beside a new workload; controller, which frees it
    Column("node", ID),  # controller
    Column("made", SmallInteger, nullable=False),  # controller, from the node's report
    Column("removing", SmallInteger, nullable=False),  # API; controller for those that go with their workload
    Column("failure", Text),  # controller, from the node's report
    UniqueConstraint("id"),
    UniqueConstraint("project_id", "name"),
    Index(None, "workload"),
    Index(None, "node"),
    **OPTIONS,
)

injected_files = Table(  # apart from the workloads, so that lists do not read contents
    "injected_files",
    metadata,
    Column("id", ID, primary_key=True),  # API
    Column("workload", ID, nullable=False),  # API; no foreign key: garbage collection compares
    Column("content", LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb"), nullable=False),  # API
    Index(None, "workload"),
    **KEYED,
)

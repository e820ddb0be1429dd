"""Images of projects. Beside each column stands who writes it."""

from sqlalchemy import BigInteger, Column, Index, String, Table, Text, UniqueConstraint

from krater.store.sql.tables.kinds import ID, NAME, OPTIONS, SEQ, Moment, metadata

own_images = Table(
    "own_images",
    metadata,
    Column("seq", SEQ, primary_key=True),  # the store
    Column("id", ID, nullable=False),  # API
    Column("project_id", ID, nullable=False),  # API
    Column("user_id", ID, nullable=False),  # API
    Column("repo", NAME, nullable=False),  # API
    Column("tag", String(128), nullable=False),  # API
    Column("node", ID, nullable=False),  # API, from the container's placement
    Column("stored", NAME, nullable=False),  # API
    Column("source", ID, nullable=False),  # API; no foreign key: images outlive their containers
    Column("request_id", ID, nullable=False),  # API
    Column("created_at", Moment, nullable=False),  # API
    Column("image_id", String(128)),  # controller, from the node's report
    Column("size", BigInteger),  # controller, from the node's report
    Column("failure", Text),  # controller, from the node's report
    UniqueConstraint("id"),
    Index(None, "project_id"),
    Index(None, "node"),
    **OPTIONS,
)

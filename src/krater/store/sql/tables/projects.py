"""What belongs to a project or its users: limits, use, revoked tokens. Beside each column stands who writes it."""

from sqlalchemy import BigInteger, Column, Index, String, Table

from krater.store.sql.tables.kinds import ID, KEYED, NAME, WORD, Moment, metadata

quota_limits = Table(
    "quota_limits",
    metadata,
    Column("kind", WORD, primary_key=True),  # API: "project" or "class"
    Column("owner", NAME, primary_key=True),  # API: the project's id or the class's name
    Column("containers", BigInteger),  # API: the operator's word
    Column("cpu", BigInteger),  # API: the operator's word
    Column("memory", BigInteger),  # API: the operator's word
    Column("disk", BigInteger),  # API: the operator's word
    **KEYED,
)

quota_usage = Table(
    "quota_usage",
    metadata,
    Column("project_id", ID, primary_key=True),  # API adds, controller gives back, each beside the workload
    Column("containers", BigInteger, nullable=False),
    Column("cpu", BigInteger, nullable=False),
    Column("memory", BigInteger, nullable=False),
    Column("disk", BigInteger, nullable=False),
    **KEYED,
)

revoked_tokens = Table(
    "revoked_tokens",
    metadata,
    Column("id", String(128), primary_key=True),  # API
    Column("expires_at", Moment, nullable=False),  # API
    Index(None, "expires_at"),
    **KEYED,
)

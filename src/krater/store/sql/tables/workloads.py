"""Workloads, and the history of what was done to them. Beside each column stands who writes it."""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from krater.store.sql.tables.kinds import DOCUMENT, ID, KEYED, NAME, OPTIONS, SEQ, WORD, Moment, metadata

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
    **KEYED,
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

"""All that Krater 0.1 keeps."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None

SEQ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.BigInteger()
DOCUMENT = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")
OPTIONS: dict[str, Any] = {
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
    "mariadb_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_bin",
}


def upgrade() -> None:
    for create in (
        _actions,
        _claims,
        _images,
        _networks,
        _nodes,
        _quota_limits,
        _quota_usage,
        _revoked_tokens,
        _workloads,
        _action_events,
        _members,
        _ports,
        _subnets,
        _addresses,
    ):
        create()


def _actions() -> None:
    op.create_table(
        "actions",
        sa.Column("seq", SEQ, nullable=False),
        sa.Column("workload", sa.String(64), nullable=False),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(64), nullable=False),
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("start_time", MOMENT, nullable=False),
        sa.Column("finish_time", MOMENT, nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("event_count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_actions"),
        **OPTIONS,
        sqlite_autoincrement=True,
    )
    op.create_index("ix_actions_finish_time", "actions", ["finish_time"])
    op.create_index("ix_actions_workload_seq", "actions", ["workload", "seq"])


def _claims() -> None:
    op.create_table(
        "claims",
        sa.Column("workload", sa.String(64), nullable=False),
        sa.Column("node", sa.String(64), nullable=False),
        sa.Column("cpu", sa.BigInteger(), nullable=False),
        sa.Column("memory", sa.BigInteger(), nullable=False),
        sa.Column("disk", sa.BigInteger(), nullable=False),
        sa.Column("containers", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("workload", name="pk_claims"),
        **OPTIONS,
    )
    op.create_index("ix_claims_node", "claims", ["node"])


def _images() -> None:
    op.create_table(
        "images",
        sa.Column("seq", SEQ, nullable=False),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("repo", sa.String(255), nullable=False),
        sa.Column("tag", sa.String(128), nullable=False),
        sa.Column("node", sa.String(64), nullable=False),
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(64), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("wanted", sa.SmallInteger(), nullable=False),
        sa.Column("removing", sa.SmallInteger(), nullable=False),
        sa.Column("image_id", sa.String(128), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("seq", name="pk_images"),
        sa.UniqueConstraint("id", name="uq_images_id"),
        sa.UniqueConstraint("node", "repo", "tag", name="uq_images_node_repo_tag"),
        **OPTIONS,
        sqlite_autoincrement=True,
    )


def _networks() -> None:
    op.create_table(
        "networks",
        sa.Column("seq", SEQ, nullable=False),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("shared", sa.SmallInteger(), nullable=False),
        sa.Column("internal", sa.SmallInteger(), nullable=False),
        sa.Column("mtu", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_networks"),
        sa.UniqueConstraint("id", name="uq_networks_id"),
        sa.UniqueConstraint("project_id", "name", name="uq_networks_project_id_name"),
        **OPTIONS,
        sqlite_autoincrement=True,
    )


def _nodes() -> None:
    op.create_table(
        "nodes",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("availability_zone", sa.String(255), nullable=False),
        sa.Column("inventory", DOCUMENT, nullable=False),
        sa.Column("cpus", sa.Integer(), nullable=False),
        sa.Column("memory", sa.BigInteger(), nullable=False),
        sa.Column("disk", sa.BigInteger(), nullable=False),
        sa.Column("last_seen", MOMENT, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("report_count", sa.BigInteger(), nullable=False),
        sa.Column("disabled", sa.SmallInteger(), nullable=False),
        sa.Column("disabled_reason", sa.Text(), nullable=True),
        sa.Column("forced_down", sa.SmallInteger(), nullable=False),
        sa.Column("used_cpu", sa.BigInteger(), nullable=False),
        sa.Column("used_memory", sa.BigInteger(), nullable=False),
        sa.Column("used_disk", sa.BigInteger(), nullable=False),
        sa.Column("used_containers", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_nodes"),
        sa.UniqueConstraint("host", name="uq_nodes_host"),
        **OPTIONS,
    )


def _quota_limits() -> None:
    op.create_table(
        "quota_limits",
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("owner", sa.String(255), nullable=False),
        sa.Column("containers", sa.BigInteger(), nullable=True),
        sa.Column("cpu", sa.BigInteger(), nullable=True),
        sa.Column("memory", sa.BigInteger(), nullable=True),
        sa.Column("disk", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("kind", "owner", name="pk_quota_limits"),
        **OPTIONS,
    )


def _quota_usage() -> None:
    op.create_table(
        "quota_usage",
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("containers", sa.BigInteger(), nullable=False),
        sa.Column("cpu", sa.BigInteger(), nullable=False),
        sa.Column("memory", sa.BigInteger(), nullable=False),
        sa.Column("disk", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", name="pk_quota_usage"),
        **OPTIONS,
    )


def _revoked_tokens() -> None:
    op.create_table(
        "revoked_tokens",
        sa.Column("id", sa.String(128), nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_revoked_tokens"),
        **OPTIONS,
    )
    op.create_index("ix_revoked_tokens_expires_at", "revoked_tokens", ["expires_at"])


def _workloads() -> None:
    op.create_table(
        "workloads",
        sa.Column("seq", SEQ, nullable=False),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("spec", DOCUMENT, nullable=False),
        sa.Column("image", sa.String(512), nullable=False),
        sa.Column("cpu", sa.BigInteger(), nullable=False),
        sa.Column("memory", sa.BigInteger(), nullable=False),
        sa.Column("disk", sa.BigInteger(), nullable=False),
        sa.Column("containers", sa.Integer(), nullable=False),
        sa.Column("auto_remove", sa.SmallInteger(), nullable=False),
        sa.Column("intent", DOCUMENT, nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("removal", sa.Text(), nullable=True),
        sa.Column("placement", DOCUMENT, nullable=False),
        sa.Column("node", sa.String(64), nullable=True),
        sa.Column("observed", DOCUMENT, nullable=False),
        sa.Column("unfinished", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_workloads"),
        sa.UniqueConstraint("id", name="uq_workloads_id"),
        **OPTIONS,
        sqlite_autoincrement=True,
    )
    op.create_index("ix_workloads_name_project_id_kind", "workloads", ["name", "project_id", "kind"])
    op.create_index("ix_workloads_node", "workloads", ["node"])
    op.create_index("ix_workloads_project_id_kind_seq", "workloads", ["project_id", "kind", "seq"])
    op.create_index("ix_workloads_unfinished_seq", "workloads", ["unfinished", "seq"])


def _action_events() -> None:
    op.create_table(
        "action_events",
        sa.Column("seq", SEQ, nullable=False),
        sa.Column("action", SEQ, nullable=False),
        sa.Column("event", sa.String(255), nullable=False),
        sa.Column("start_time", MOMENT, nullable=False),
        sa.Column("finish_time", MOMENT, nullable=True),
        sa.Column("result", sa.String(32), nullable=False),
        sa.Column("details", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["action"], ["actions.seq"], name="fk_action_events_action", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("seq", name="pk_action_events"),
        **OPTIONS,
        sqlite_autoincrement=True,
    )
    op.create_index("ix_action_events_action", "action_events", ["action"])


def _members() -> None:
    op.create_table(
        "members",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("workload", SEQ, nullable=False),
        sa.ForeignKeyConstraint(["workload"], ["workloads.seq"], name="fk_members_workload", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_members"),
        **OPTIONS,
    )
    op.create_index("ix_members_workload", "members", ["workload"])


def _ports() -> None:
    op.create_table(
        "ports",
        sa.Column("seq", SEQ, nullable=False),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("network", sa.String(64), nullable=False),
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("mac", sa.String(17), nullable=False),
        sa.Column("device", sa.String(64), nullable=False),
        sa.Column("owned", sa.SmallInteger(), nullable=False),
        sa.ForeignKeyConstraint(["network"], ["networks.id"], name="fk_ports_network"),
        sa.PrimaryKeyConstraint("seq", name="pk_ports"),
        sa.UniqueConstraint("id", name="uq_ports_id"),
        sa.UniqueConstraint("mac", name="uq_ports_mac"),
        **OPTIONS,
        sqlite_autoincrement=True,
    )
    op.create_index("ix_ports_device", "ports", ["device"])
    op.create_index("ix_ports_network", "ports", ["network"])
    op.create_index("ix_ports_project_id", "ports", ["project_id"])


def _subnets() -> None:
    op.create_table(
        "subnets",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("network", sa.String(64), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("cidr", sa.String(49), nullable=False),
        sa.Column("gateway", sa.String(45), nullable=True),
        sa.Column("lowest", sa.String(33), nullable=False),
        sa.Column("highest", sa.String(33), nullable=False),
        sa.Column("cursor", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["network"], ["networks.id"], name="fk_subnets_network", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_subnets"),
        sa.UniqueConstraint("lowest", name="uq_subnets_lowest"),
        **OPTIONS,
    )
    op.create_index("ix_subnets_network", "subnets", ["network"])


def _addresses() -> None:
    op.create_table(
        "addresses",
        sa.Column("network", sa.String(64), nullable=False),
        sa.Column("address", sa.String(45), nullable=False),
        sa.Column("port", sa.String(64), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("subnet", sa.String(64), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["port"], ["ports.id"], name="fk_addresses_port", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["subnet"], ["subnets.id"], name="fk_addresses_subnet"),
        sa.PrimaryKeyConstraint("network", "address", name="pk_addresses"),
        sa.UniqueConstraint("subnet", "position", name="uq_addresses_subnet_position"),
        **OPTIONS,
    )
    op.create_index("ix_addresses_port", "addresses", ["port"])

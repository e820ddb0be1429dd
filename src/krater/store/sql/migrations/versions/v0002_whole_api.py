"""What the whole container API keeps besides."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from krater.model.security import default_group, default_group_id

revision = "0002"
down_revision = "0001"

SEQ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.BigInteger()
OPTIONS: dict[str, Any] = {
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
    "mariadb_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_bin",
}


def upgrade() -> None:
    """Each noun for itself."""
    _security_groups()
    _dedicated_processors()
    _departures()
    _own_images()
    _registries()
    _registry_uses()
    _volumes()
    _injected_files()


def _dedicated_processors() -> None:
    op.add_column("claims", sa.Column("cpus", sa.String(2048), nullable=False, server_default=""))


def _departures() -> None:
    op.create_table(
        "departures",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("node", sa.String(64), nullable=False),
        sa.Column("gone_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_departures"),
        **OPTIONS,
    )
    op.create_index("ix_departures_gone_at", "departures", ["gone_at"])
    op.create_index("ix_departures_name_project_id", "departures", ["name", "project_id"])


def _own_images() -> None:
    op.create_table(
        "own_images",
        sa.Column("seq", SEQ, nullable=False),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(64), nullable=False),
        sa.Column("repo", sa.String(255), nullable=False),
        sa.Column("tag", sa.String(128), nullable=False),
        sa.Column("node", sa.String(64), nullable=False),
        sa.Column("stored", sa.String(255), nullable=False),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("image_id", sa.String(128), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("seq", name="pk_own_images"),
        sa.UniqueConstraint("id", name="uq_own_images_id"),
        **OPTIONS,
        sqlite_autoincrement=True,
    )
    op.create_index("ix_own_images_node", "own_images", ["node"])
    op.create_index("ix_own_images_project_id", "own_images", ["project_id"])


def _registries() -> None:
    op.create_table(
        "registries",
        sa.Column("seq", SEQ, nullable=False),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(255), nullable=True),
        sa.Column("domain", sa.String(255), nullable=False),
        sa.Column("username", sa.String(255), nullable=True),
        sa.Column("sealed", sa.Text(), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("seq", name="pk_registries"),
        sa.UniqueConstraint("id", name="uq_registries_id"),
        **OPTIONS,
        sqlite_autoincrement=True,
    )
    op.create_index("ix_registries_project_id_seq", "registries", ["project_id", "seq"])


def _registry_uses() -> None:
    op.create_table(
        "registry_uses",
        sa.Column("workload", sa.String(64), nullable=False),
        sa.Column("registry", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(["workload"], ["workloads.id"], name="fk_registry_uses_workload", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["registry"], ["registries.id"], name="fk_registry_uses_registry"),
        sa.PrimaryKeyConstraint("workload", "registry", name="pk_registry_uses"),
        **OPTIONS,
    )
    op.create_index("ix_registry_uses_registry", "registry_uses", ["registry"])


def _volumes() -> None:
    op.create_table(
        "volumes",
        sa.Column("seq", SEQ, nullable=False),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(255), nullable=True),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("auto_remove", sa.SmallInteger(), nullable=False),
        sa.Column("workload", sa.String(64), nullable=False),
        sa.Column("node", sa.String(64), nullable=True),
        sa.Column("made", sa.SmallInteger(), nullable=False),
        sa.Column("removing", sa.SmallInteger(), nullable=False),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("seq", name="pk_volumes"),
        sa.UniqueConstraint("id", name="uq_volumes_id"),
        sa.UniqueConstraint("project_id", "name", name="uq_volumes_project_id_name"),
        **OPTIONS,
        sqlite_autoincrement=True,
    )
    op.create_index("ix_volumes_node", "volumes", ["node"])
    op.create_index("ix_volumes_workload", "volumes", ["workload"])


def _injected_files() -> None:
    content = sa.LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb")
    op.create_table(
        "injected_files",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("workload", sa.String(64), nullable=False),
        sa.Column("content", content, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_injected_files"),
        **OPTIONS,
    )
    op.create_index("ix_injected_files_workload", "injected_files", ["workload"])


def _security_groups() -> None:
    groups = op.create_table(
        "security_groups",
        sa.Column("seq", SEQ, nullable=False),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("description", sa.String(255), nullable=False),
        sa.Column("device", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_security_groups"),
        sa.UniqueConstraint("id", name="uq_security_groups_id"),
        **OPTIONS,
        sqlite_autoincrement=True,
    )
    op.create_index("ix_security_groups_project_id_name", "security_groups", ["project_id", "name"])
    op.create_index("ix_security_groups_device", "security_groups", ["device"])
    rules = op.create_table(
        "security_rules",
        sa.Column("seq", SEQ, nullable=False),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("direction", sa.String(32), nullable=False),
        sa.Column("version", sa.SmallInteger(), nullable=False),
        sa.Column("protocol", sa.String(32), nullable=True),
        sa.Column("lowest", sa.Integer(), nullable=True),
        sa.Column("highest", sa.Integer(), nullable=True),
        sa.Column("remote_cidr", sa.String(49), nullable=True),
        sa.Column("remote_group", sa.String(64), nullable=True),
        sa.ForeignKeyConstraint(["owner"], ["security_groups.id"], name="fk_security_rules_owner", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("seq", name="pk_security_rules"),
        sa.UniqueConstraint("id", name="uq_security_rules_id"),
        **OPTIONS,
        sqlite_autoincrement=True,
    )
    op.create_index("ix_security_rules_owner", "security_rules", ["owner"])
    op.create_index("ix_security_rules_remote_group", "security_rules", ["remote_group"])
    members = op.create_table(
        "security_members",
        sa.Column("device", sa.String(64), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["owner"], ["security_groups.id"], name="fk_security_members_owner"),
        sa.PrimaryKeyConstraint("device", "owner", name="pk_security_members"),
        **OPTIONS,
    )
    op.create_index("ix_security_members_owner", "security_members", ["owner"])
    _default_groups(groups, rules, members)


_PROJECTS = "SELECT project_id FROM ports UNION SELECT project_id FROM workloads"
_DEVICES = "SELECT id, project_id FROM workloads UNION ALL SELECT id, project_id FROM ports WHERE owned = 0"


def _default_groups(groups: sa.Table, rules: sa.Table, members: sa.Table) -> None:
    """What was there before there were groups is in the default one. Written down: who is in no row is in no group."""
    connection = op.get_bind()
    for (project,) in connection.execute(sa.text(_PROJECTS)).fetchall():
        made = default_group(project)
        connection.execute(
            groups.insert(),
            {
                "id": made.id,
                "project_id": project,
                "name": made.name,
                "description": made.description,
                "device": "",
            },
        )
        for rule in made.rules:
            values = {"id": rule.id, "owner": made.id, "direction": str(rule.direction), "version": rule.version}
            connection.execute(rules.insert(), {**values, "remote_group": rule.remote_group})
    for device, project in connection.execute(sa.text(_DEVICES)).fetchall():
        connection.execute(members.insert(), {"device": device, "owner": default_group_id(project), "rank": 0})

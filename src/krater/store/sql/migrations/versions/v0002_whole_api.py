"""What the whole container API keeps besides."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

MOMENT = sa.BigInteger()
OPTIONS: dict[str, Any] = {
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
    "mariadb_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_bin",
}


def upgrade() -> None:
    """Each noun for itself."""
    _dedicated_processors()
    _departures()


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

"""What the whole container API keeps besides."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Each noun for itself."""
    _dedicated_processors()


def _dedicated_processors() -> None:
    op.add_column("claims", sa.Column("cpus", sa.String(2048), nullable=False, server_default=""))

"""What the whole container API keeps besides."""

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Filled by the nouns that follow."""

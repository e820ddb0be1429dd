"""Bringing a database to this program's version, or refusing it. Alembic is imported only where there is work to do."""

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, inspect, text

from krater.errors import Permanent

HEAD = "0002"
"""The newest revision in `migrations/versions`."""

_MIGRATIONS = Path(__file__).parent / "migrations"


def ensure_head(connection: Connection) -> None:
    """Run what is missing. All of it happens in the transaction that is under way."""
    revision = revision_of(connection)
    if revision == HEAD:
        return
    from alembic import command
    from alembic.script import ScriptDirectory

    config = configuration(connection)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if revision is not None and revision not in known:
        raise Permanent(
            f"The database was made by another version of Krater (revision {revision}, this one knows {HEAD}): "
            "a newer one must serve from it."
        )
    if revision is None and inspect(connection).get_table_names():
        raise Permanent("The database holds tables that are not Krater's; give it one of its own.")
    command.upgrade(config, "head")


def revision_of(connection: Connection) -> str | None:
    """The revision a database is at, None for an empty one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)


def configuration(connection: Connection) -> Any:
    """Alembic's configuration, without a file."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config

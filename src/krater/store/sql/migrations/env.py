"""What alembic runs: the migrations, on the connection that `store.sql.schema` hands over, in its transaction."""

from alembic import context

from krater.store.sql.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True)

with context.begin_transaction():
    context.run_migrations()

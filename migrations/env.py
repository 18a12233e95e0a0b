"""Alembic's entry for all trees; the connection and its transaction are made by app.tenancy.schema."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()

"""Environment of alembic; used through `layers.migrate` only, over its connection."""

from alembic import context

from layers.schema import schema_metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=schema_metadata(context.config.attributes["storage_srid"]),
    version_table="alembic_version",
    version_table_schema="baige_sys",
    include_schemas=True,
)
with context.begin_transaction():
    context.run_migrations()

"""The whole schema as SQLAlchemy metadata: what the migrations must lead to."""

import sqlalchemy as sa

from layers.catalogue import built_in
from layers.models import layer_tables
from layers.system import system_tables

__all__ = ["schema_metadata"]


def schema_metadata(storage_srid: int) -> sa.MetaData:
    """System tables and the tables of all built-in layers, geometries in EPSG ``storage_srid``."""
    metadata = sa.MetaData()
    system_tables(metadata)
    layer_tables(built_in().values(), storage_srid, metadata)
    return metadata

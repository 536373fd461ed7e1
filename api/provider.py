"""Providers for pygeoapi's own path: features and tiles of a layer, by the same SQL as the server's routes.

They answer where pygeoapi itself is called (`pygeoapi.api`, its command line, or another server made from the same configuration), with
the rights of the public.
"""

import warnings
from typing import Any

import orjson
import psycopg
from pygeoapi.provider.base import BaseProvider, ProviderItemNotFoundError, ProviderQueryError

from api.schemas import property_schema
from gis.errors import BaigeError
from layers.access import PUBLIC, Principal
from layers.database import driver_errors, principal_settings
from layers.declaration import LayerDeclaration
from layers.query import filters
from layers.query.fragment import Fragment
from layers.query.items import Question, count_sql, item_sql, page_sql
from layers.query.paging import Order, SortKey
from layers.query.source import Source
from layers.query.tilegrid import matrix_set
from layers.query.tiles import tile_sql

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of pydantic, about pygeoapi's own models
    from pygeoapi.provider.base_mvt import BaseMVTProvider

__all__ = ["LayerProvider", "LayerTileProvider"]

_DECLARATION = "SELECT name, declaration FROM baige_sys.layer WHERE name = %s"


class _Layer:
    """A layer read over a connection of its own for each question."""

    def __init__(self, conninfo: str, storage_srid: int, name: str) -> None:
        self.conninfo = conninfo
        self.principal: Principal = PUBLIC
        with driver_errors(), psycopg.connect(conninfo) as connection:
            row = connection.execute(_DECLARATION, (name,)).fetchone()
        if row is None:
            raise ProviderQueryError(f"no layer {name}")
        self.source = Source.of(LayerDeclaration.model_validate(row[1]), storage_srid, self.principal.role)

    def ask(self, question: Fragment) -> list[tuple[Any, ...]]:
        """Rows of a question."""
        try:
            with driver_errors(), psycopg.connect(self.conninfo) as connection:
                settings, values = principal_settings(self.principal, timeout_s=30)
                connection.execute(settings.encode(), values)
                return connection.execute(question.text.encode(), question.params).fetchall()
        except BaigeError as error:
            raise ProviderQueryError(error.message) from error


class LayerProvider(BaseProvider):  # type: ignore[misc]
    """Features of a layer."""

    def __init__(self, provider_def: dict[str, Any]) -> None:
        super().__init__(provider_def)
        self.conninfo = provider_def["data"]["conninfo"]
        self.storage_srid = provider_def["data"]["storage_srid"]
        self.table = provider_def["table"]
        self._fields: dict[str, Any] = {}
        self._layer: _Layer | None = None

    @property
    def layer(self) -> _Layer:
        """The layer, looked up when first needed."""
        if self._layer is None:
            self._layer = _Layer(self.conninfo, self.storage_srid, self.table)
        return self._layer

    def get_fields(self) -> dict[str, Any]:
        """Names and types of the properties."""
        if not self._fields:
            found = {}
            for field in self.layer.source.fields:
                schema = property_schema(field, "en")
                found[field.name] = {"type": schema.get("type", "string"), "title": field.title_en}
            self._fields = found
        return dict(self._fields)

    @property
    def fields(self) -> dict[str, Any]:
        """Names and types of the properties."""
        return self.get_fields()

    def query(self, offset: int = 0, limit: int = 10, resulttype: str = "results", bbox: list[float] | None = None,
              datetime_: str | None = None, properties: list[tuple[str, str]] | None = None, sortby: list[dict[str, str]] | None = None,
              select_properties: list[str] | None = None, skip_geometry: bool = False, q: str | None = None, filterq: Any = None,
              crs_transform_spec: Any = None, **kwargs: Any) -> dict[str, Any]:  # fmt: skip
        """A page of features as a GeoJSON collection."""
        source = self.layer.source
        try:
            conditions = [filters.property_filter(source, name, value) for name, value in properties or []]
            if bbox:
                half = len(bbox) // 2
                conditions.append(filters.bbox_filter(source, (bbox[0], bbox[1], bbox[half], bbox[half + 1]), srid=4326, swap_xy=False))
            if datetime_:
                conditions.append(filters.datetime_filter(source, datetime_))
            if q:
                conditions.append(filters.words_filter(source, q))
            keys = tuple(SortKey(source.column(key["property"]), key["order"] == "-") for key in sortby or [])
        except BaigeError as error:
            raise ProviderQueryError(error.message) from error
        names = tuple(select_properties) if select_properties else None
        question = Question(source, tuple(conditions), Order(keys), srid=4326, properties=names, geometry=not skip_geometry)
        matched = int(self.layer.ask(count_sql(question))[0][0])
        features: list[Any] = []
        if resulttype != "hits":
            rows = self.layer.ask(page_sql(question, limit=offset + limit))
            features = [orjson.loads(row[0]) for row in rows[offset : offset + limit]]
        return {"type": "FeatureCollection", "features": features, "numberMatched": matched, "numberReturned": len(features)}

    def get(self, identifier: str, crs_transform_spec: Any = None, **kwargs: Any) -> dict[str, Any]:
        """One feature."""
        rows = self.layer.ask(item_sql(Question(self.layer.source, srid=4326), identifier))
        if not rows:
            raise ProviderItemNotFoundError(f"no feature {identifier}")
        found: dict[str, Any] = orjson.loads(rows[0][0])
        return found


class LayerTileProvider(BaseMVTProvider):  # type: ignore[misc]
    """Vector tiles of a layer."""

    def __init__(self, provider_def: dict[str, Any]) -> None:
        BaseProvider.__init__(self, provider_def)
        self.format_type = "pbf"
        self.tile_type = "vector"
        self.conninfo = provider_def["data"]["conninfo"]
        self.storage_srid = provider_def["data"]["storage_srid"]
        self.table = provider_def["table"]

    def get_layer(self) -> str:
        """Name of the layer in a tile."""
        return str(self.table)

    def get_fields(self) -> dict[str, Any]:
        """Tiles say their fields in TileJSON."""
        return {}

    def get_tiling_schemes(self) -> list[Any]:
        """The tile matrix sets are those of the server's own routes."""
        return []

    def get_tiles(self, layer: str | None = None, tileset: str | None = None, z: int | None = None, y: int | None = None,
                  x: int | None = None, format_: str | None = None) -> bytes:  # fmt: skip
        """One tile."""
        found = _Layer(self.conninfo, self.storage_srid, self.table)
        tile = matrix_set(str(tileset)).tile(int(z or 0), int(x or 0), int(y or 0))
        return bytes(found.ask(tile_sql(found.source, tile, total=None))[0][0])

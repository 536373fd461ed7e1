"""What can be asked of a layer by a role: its columns, their kinds, and how SQL names them."""

import datetime as dt
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from gis.errors import UnknownField
from layers.access import sees_place, visible_fields
from layers.declaration import FieldDeclaration, LayerDeclaration
from layers.models import HISTORY_SCHEMA, LAYER_SCHEMA, layer_srid

__all__ = ["Column", "Kind", "Source"]

Kind = Literal["text", "int", "num", "bool", "date", "datetime", "uuid", "text[]", "geometry"]

_KINDS: dict[str, Kind] = {
    "text": "text", "code": "text", "int": "int", "num": "num", "bool": "bool", "date": "date", "datetime": "datetime",
    "ref": "uuid", "uuid": "uuid", "text[]": "text[]", "geometry": "geometry",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Column:
    """A property: its name in requests, the column, and what kind of value it holds."""

    name: str
    sql: str
    kind: Kind


@dataclass(frozen=True)
class Source:
    """A layer as one role sees it.

    Attributes
    ----------
    srid : int
        EPSG code of the stored geometries.
    fields : tuple of FieldDeclaration
        Declared fields that the role may read.
    at : datetime or None
        The layer as it was recorded at this moment; None for the present.
    partitioned : bool
        Its rows lie in partitions by administrative code.
    """

    declaration: LayerDeclaration
    srid: int
    role: str
    fields: tuple[FieldDeclaration, ...]
    at: dt.datetime | None = None
    partitioned: bool = False

    @classmethod
    def of(cls, declaration: LayerDeclaration, storage_srid: int, role: str, *, partitioned: bool = False) -> "Source":
        """The layer of ``declaration`` as ``role`` (a role name, or ``owner``) may read it."""
        seen = set(visible_fields(declaration, role))
        fields = tuple(field for field in declaration.all_fields if field.name in seen)
        return cls(declaration, layer_srid(declaration, storage_srid), role, fields, partitioned=partitioned)

    @property
    def name(self) -> str:
        """Name of the layer."""
        return self.declaration.name

    def as_of(self, moment: dt.datetime | None) -> "Source":
        """The layer as it was recorded at ``moment`` (with a time zone); the layer itself where None is given."""
        return self if moment is None else replace(self, at=moment)

    @cached_property
    def table(self) -> str:
        """Where the rows come from: the table's qualified name, quoted; for a past state a query in brackets.

        A past state is the present rows that stood then and the old versions that stood then (docs/decisions.md, 3). Row-level security and
        column privileges of both tables apply to whoever asks.
        """
        name = self.declaration.name
        if self.at is None:
            return f'{LAYER_SCHEMA}."{name}"'
        listed = ["id", *(f.name for f in self.fields), *(["geom"] if self.has_geometry else []), "changed_at", "change_id"]
        columns = ", ".join(f'"{column}"' for column in listed)
        then = f"timestamptz '{self.at.astimezone(dt.UTC).isoformat()}'"
        return (
            f'(SELECT {columns} FROM {LAYER_SCHEMA}."{name}" WHERE changed_at <= {then} UNION ALL'
            f' SELECT {columns} FROM {HISTORY_SCHEMA}."{name}" WHERE changed_at <= {then} AND replaced_at > {then})'
        )

    @cached_property
    def has_geometry(self) -> bool:
        """Whether features have a place of their own that the role may see."""
        return sees_place(self.declaration, self.role)

    @cached_property
    def columns(self) -> dict[str, Column]:
        """Everything that may be filtered by, by the name that requests use; the place is called ``geometry``."""
        found = {"id": Column("id", "t.id", "uuid")}
        for field in self.fields:
            kind = _KINDS.get(field.type) or ("int" if field.is_integer_domain else "text")
            found[field.name] = Column(field.name, f't."{field.name}"', kind)
        found["changed_at"] = Column("changed_at", "t.changed_at", "datetime")
        if self.has_geometry:
            found["geometry"] = Column("geometry", "t.geom", "geometry")
        return found

    def column(self, name: str) -> Column:
        """The column behind a property.

        Raises
        ------
        UnknownField
            There is none that this role may use.
        """
        found = self.columns.get("geometry" if name == "geom" and self.has_geometry else name)
        if found is None:
            shown = name[:60]
            raise UnknownField(f"Layer {self.name} has no property {shown!r}.", zh=f"图层 {self.name} 没有属性 {shown!r}。")
        return found

    @cached_property
    def properties(self) -> tuple[Column, ...]:
        """Columns that stand in the ``properties`` of a feature, in the order of the declaration; second geometries left out."""
        return tuple(c for c in self.columns.values() if c.kind != "geometry" and c.name != "id")

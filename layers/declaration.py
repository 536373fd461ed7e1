"""The declaration of a layer: one TOML file that drives table, migration check, loader, validation, API schema, form, legend and docs.

A declaration looks like this (what is not given has the default shown by `LayerDeclaration` and `FieldDeclaration`)::

    name = "camera_site"
    title_zh = "摄像机点位"
    title_en = "Camera sites"
    theme = "video"
    geometry = "Point"
    natural_keys = [["device_code"]]

    [[fields]]
    name = "net_status"
    type = "enum"
    title_zh = "在线状态"
    title_en = "Online status"
    domain = [{ value = "on", zh = "在线", en = "Online" }, { value = "off", zh = "离线", en = "Offline" }]
"""

import re
import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from gis.errors import InputError

__all__ = [
    "COMMON_FIELDS",
    "SYSTEM_FIELDS",
    "Classification",
    "FieldDeclaration",
    "FieldType",
    "GeometryType",
    "LayerDeclaration",
    "Role",
    "Style",
    "Term",
    "read_declaration",
]

FieldType = Literal[
    "text", "code", "int", "num", "bool", "date", "datetime", "enum", "ref", "uuid", "text[]", "geometry"
]
GeometryType = Literal[
    "Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon", "LineStringM", "Geometry", "none"
]
Classification = Literal["public", "internal", "restricted"]
Role = Literal["public", "viewer", "officer", "planner", "admin"]
Kind = Literal["register", "observation", "base", "derived", "result"]

_NAME = re.compile(r"^[a-z][a-z0-9_]{0,47}$")
#: Words that would collide with parameters of the API or with SQL system columns.
_RESERVED = frozenset({
    "bbox", "datetime", "limit", "offset", "sortby", "filter", "properties", "f", "lang", "crs", "q", "token", "type",
    "ctid", "xmin", "xmax", "cmin", "cmax", "tableoid", "geometry", "links",
})  # fmt: skip


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Term(_Frozen):
    """One value of a domain, its titles, and other spellings that a loader accepts for it."""

    value: int | str
    zh: str
    en: str
    aliases: tuple[str, ...] = ()


class FieldDeclaration(_Frozen):
    """One attribute of a layer.

    Attributes
    ----------
    type : FieldType
        ``code`` is a string of fixed ``length``; ``enum`` a value of ``domain`` (all integers or all strings); ``ref`` the id of
        a feature of the layer ``references``; ``geometry`` a second geometry of type ``geometry`` in the storage system.
    unit : str
        Unit of a number as shown to people (``m``, ``°``, ``mg/L``); empty for none.
    aliases : tuple of str
        Other column headers that the loader accepts beside name and titles.
    hidden_from : tuple of Role
        Roles that never see this column.
    """

    name: str
    type: FieldType = "text"
    title_zh: str
    title_en: str
    unit: str = ""
    required: bool = False
    length: int | None = Field(None, gt=0, le=10000)
    pattern: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    domain: tuple[Term, ...] = ()
    references: str | None = None
    geometry: GeometryType | None = None
    aliases: tuple[str, ...] = ()
    hidden_from: tuple[Role, ...] = ()
    index: bool = False
    description_zh: str = ""
    description_en: str = ""

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not _NAME.match(value) or value in _RESERVED:
            raise ValueError(
                f"{value!r} is not a usable field name: lower-case letters, digits and _, not a reserved word"
            )
        return value

    @field_validator("pattern")
    @classmethod
    def _pattern_compiles(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                re.compile(value)
            except re.error as error:
                raise ValueError(f"pattern {value!r} is not a regular expression: {error}") from error
        return value

    @model_validator(mode="after")
    def _consistent(self) -> "FieldDeclaration":
        if (self.type == "enum") != bool(self.domain):
            raise ValueError(f"field {self.name}: 'domain' belongs to type enum, and type enum needs it")
        if self.domain and len({type(term.value) for term in self.domain}) != 1:
            raise ValueError(f"field {self.name}: values of a domain are all integers or all strings")
        if len({term.value for term in self.domain}) != len(self.domain):
            raise ValueError(f"field {self.name}: a value stands twice in the domain")
        if (self.type == "ref") != (self.references is not None):
            raise ValueError(f"field {self.name}: 'references' belongs to type ref, and type ref needs it")
        if (self.type == "geometry") != (self.geometry not in (None, "none")):
            raise ValueError(f"field {self.name}: 'geometry' belongs to type geometry, and type geometry needs it")
        if self.type == "code" and self.length is None:
            raise ValueError(f"field {self.name}: type code needs 'length'")
        return self

    @property
    def is_integer_domain(self) -> bool:
        """Whether the values of the domain are integers."""
        return bool(self.domain) and isinstance(self.domain[0].value, int)

    def title(self, lang: str) -> str:
        """Title in ``lang`` (``zh`` or ``en``)."""
        return self.title_zh if lang.startswith("zh") else self.title_en


class Style(_Frozen):
    """How a layer looks by default, everywhere: portal, folium, QGIS, paper.

    Attributes
    ----------
    color, outline : str
        ``#rrggbb`` of fill or line, and of the outline.
    by : str or None
        Field whose values are told apart: ``colors`` maps each value (as text) to a colour for a domain; for a number, ``breaks``
        (ascending) divides ``ramp`` (one colour more than breaks).
    size : float
        Radius of a point or width of a line, in pixels.
    min_zoom : int
        Not drawn below this Web Mercator zoom.
    unknown : str
        Colour of a missing value: never that of a good one.
    """

    color: str = "#3b6ea5"
    outline: str = "#1f2d3d"
    opacity: float = Field(0.7, ge=0, le=1)
    size: float = Field(4.0, gt=0)
    dash: tuple[float, ...] = ()
    by: str | None = None
    colors: dict[str, str] = {}
    breaks: tuple[float, ...] = ()
    ramp: tuple[str, ...] = ()
    unknown: str = "#9e9e9e"
    min_zoom: int = Field(0, ge=0, le=24)
    label: str | None = None
    visible: bool = True

    @model_validator(mode="after")
    def _consistent(self) -> "Style":
        colours = [self.color, self.outline, self.unknown, *self.colors.values(), *self.ramp]
        for colour in colours:
            if not re.match(r"^#[0-9a-fA-F]{6}$", colour):
                raise ValueError(f"style: {colour!r} is not a colour like #3b6ea5")
        if self.breaks and len(self.ramp) != len(self.breaks) + 1:
            raise ValueError("style: ramp needs one colour more than there are breaks")
        return self


def _common() -> tuple[FieldDeclaration, ...]:
    return (
        FieldDeclaration(name="name_zh", type="text", title_zh="名称", title_en="Name (Chinese)", length=200,
                         aliases=("名称", "中文名称", "name", "name:zh", "点位名称", "单位名称")),
        FieldDeclaration(name="name_en", type="text", title_zh="英文名称", title_en="Name (English)", length=200,
                         aliases=("name:en",)),
        FieldDeclaration(name="admin_code", type="text", title_zh="行政区划代码", title_en="Administrative code", length=12,
                         pattern=r"^([0-9]{6}|[0-9]{9}|[0-9]{12})$", aliases=("行政区划", "区划代码", "adcode"),
                         description_zh="12 位：省 2 市 2 县 2 街道 3 社区 3；6 或 9 位补零",
                         description_en="12 digits: province 2, city 2, county 2, street 3, community 3; 6 or 9 are padded with zeros"),
        FieldDeclaration(name="src_crs", type="text", title_zh="来源坐标系", title_en="Source reference system", length=12),
        FieldDeclaration(name="positional_acc_m", type="num", title_zh="定位精度", title_en="Positional accuracy", unit="m",
                         minimum=0, aliases=("位置精度",)),
        FieldDeclaration(name="valid_from", type="date", title_zh="有效期起", title_en="Valid from"),
        FieldDeclaration(name="valid_to", type="date", title_zh="有效期止", title_en="Valid to"),
        FieldDeclaration(name="source_org", type="text", title_zh="来源单位", title_en="Source organisation", length=200,
                         aliases=("数据来源",)),
        FieldDeclaration(name="source_ref", type="text", title_zh="来源标识", title_en="Identifier in the source", length=200),
        FieldDeclaration(name="classification", type="enum", title_zh="密级", title_en="Classification", required=True, domain=(
            Term(value="public", zh="公开", en="Public"),
            Term(value="internal", zh="内部", en="Internal"),
            Term(value="restricted", zh="受限", en="Restricted"),
        )),
        FieldDeclaration(name="synthetic", type="bool", title_zh="合成数据", title_en="Synthetic data", required=True),
        FieldDeclaration(name="geom_repaired", type="bool", title_zh="几何已修复", title_en="Geometry was repaired", required=True),
    )  # fmt: skip


#: Attributes that every layer has, before its own.
COMMON_FIELDS = _common()

#: Columns that Baige itself keeps in every table beside the declared ones.
SYSTEM_FIELDS = ("id", "geom", "changed_at", "change_id")

_RUN_ID = FieldDeclaration(
    name="run_id", type="uuid", title_zh="运行编号", title_en="Run", required=True, index=True,
    description_zh="得出此结果的分析运行", description_en="The analysis run that this result comes from",
)  # fmt: skip


class LayerDeclaration(_Frozen):
    """Everything about a layer.

    Attributes
    ----------
    geometry : GeometryType
        ``none`` for a table without places of its own. Multi types accept single geometries.
    srid : int or None
        EPSG code of storage; None means the city's.
    kind : str
        ``register`` (kept by people), ``observation`` (dated records of a feature), ``base`` (background), ``derived`` (made from
        other layers), ``result`` (of an analysis run: gets the column ``run_id``).
    natural_keys : tuple of tuples of str
        Each a set of fields that identifies a feature in the world, tried in order: a load updates where all its values are known.
    hidden : dict of str to tuple of str
        By role, attributes that it never sees, the common ones among them, and ``geom`` for the place itself.
    search : tuple of str
        Fields that the search by words looks into.
    """

    name: str
    title_zh: str
    title_en: str
    description_zh: str = ""
    description_en: str = ""
    theme: str = "other"
    geometry: GeometryType
    srid: int | None = None
    kind: Kind = "register"
    classification: Classification = "internal"
    natural_keys: tuple[tuple[str, ...], ...] = ()
    hidden: dict[Role, tuple[str, ...]] = Field(default_factory=dict)
    search: tuple[str, ...] = ("name_zh", "name_en", "source_ref")
    label: str = "name_zh"
    fields: tuple[FieldDeclaration, ...] = ()
    style: Style = Style()

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not _NAME.match(value):
            raise ValueError(f"{value!r} is not a usable layer name: lower-case letters, digits and _, at most 48")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> "LayerDeclaration":
        names = [field.name for field in self.all_fields]
        double = {name for name in names if names.count(name) > 1} | (set(names) & set(SYSTEM_FIELDS))
        if double:
            raise ValueError(f"layer {self.name}: field declared twice or reserved: {', '.join(sorted(double))}")
        known = set(names) | {"id"}
        asked = {name for key in self.natural_keys for name in key} | set(self.search) | {self.label}
        asked |= {name for names in self.hidden.values() for name in names if name != "geom" or not self.has_geometry}
        asked |= {name for name in (self.style.by, self.style.label) if name}
        if asked - known:
            raise ValueError(f"layer {self.name}: no such field: {', '.join(sorted(asked - known))}")
        return self

    @property
    def all_fields(self) -> tuple[FieldDeclaration, ...]:
        """Common fields, then the layer's own, then ``run_id`` for results."""
        return COMMON_FIELDS + self.fields + ((_RUN_ID,) if self.kind == "result" else ())

    @property
    def has_geometry(self) -> bool:
        """Whether features have a place of their own."""
        return self.geometry != "none"

    @property
    def update_keys(self) -> tuple[tuple[str, ...], ...]:
        """Natural keys in the order tried by a load; the identifier in the source is the last."""
        if self.kind == "result":
            return ()
        return (*self.natural_keys, ("source_ref",))

    def field(self, name: str) -> FieldDeclaration:
        """The field of that name.

        Raises
        ------
        KeyError
            There is none.
        """
        for field in self.all_fields:
            if field.name == name:
                return field
        raise KeyError(name)

    def title(self, lang: str) -> str:
        """Title in ``lang`` (``zh`` or ``en``)."""
        return self.title_zh if lang.startswith("zh") else self.title_en


def read_declaration(source: Path | str, *, name: str = "declaration") -> LayerDeclaration:
    """Read a declaration from a TOML file, or from TOML text.

    Raises
    ------
    InputError
        The file is missing, is not TOML, or says something that a declaration may not; the message names field and reason.
    """
    try:
        if isinstance(source, Path):
            name = source.name
            source = source.read_text(encoding="utf-8")
        return LayerDeclaration.model_validate(tomllib.loads(source))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{name} cannot be read.", zh=f"无法读取 {name}。") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{name} is not valid TOML: {error}", zh=f"{name} 不是有效的 TOML：{error}") from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'layer'}: {e['msg']}" for e in error.errors())
        raise InputError(f"{name}: {faults}", zh=f"{name} 有误：{faults}") from error

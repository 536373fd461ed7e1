"""A city in which every value is a marker of its own, and a crawler that knows a marker wherever it comes up.

The rules of who may see what are written here a second time, by hand, and never taken from the code under test.
"""

import datetime as dt
import io
import json
import re
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlencode

import httpx
import pyarrow.parquet as pq
import pyogrio
import pyproj
import sqlalchemy as sa

from api.access import hash_secret, new_key
from layers.catalogue import built_in
from layers.database import Database
from layers.declaration import FieldDeclaration, LayerDeclaration

NAMESPACE = uuid.UUID("5b0a1a52-9f0e-4e0e-8e55-6f3f0f6d2c01")
CODES = {"A": "420502001001", "B": "420505001001", "none": None}
CLASSES = ("public", "internal", "restricted")
#: Layers with rows that were public once and are no more.
WITHDRAWN = ("camera_site", "outfall", "school", "grid_cell")
HIDDEN_FROM_PUBLIC = {
    "camera_site": {"geom", "device_code", "name_zh", "name_en", "common_name", "source_ref", "azimuth_deg", "direction", "mount_height_m",
                    "view_dist_m"},
    "camera_view": {"geom", "residential_mask", "camera_id", "name_zh", "name_en", "source_ref"},
}  # fmt: skip
_FIXED = {"admin_code", "classification", "synthetic", "geom_repaired", "src_crs"}
_WORD = re.compile(r"zq[0-9a-f]+z")
_NUMBER = re.compile(r"(?<![\w.])-?\d{2,}(?:\.\d+)?")
_DAY = re.compile(r"\b1[345]\d\d-\d\d-\d\d")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_SYSTEMS = {
    "http://www.opengis.net/def/crs/EPSG/0/3857": 3857,
    "http://www.opengis.net/def/crs/EPSG/0/4546": 4546,
}


@dataclass(frozen=True)
class Who:
    """Somebody who asks."""

    name: str
    role: str
    district: str = ""


PEOPLE = (
    Who("public", "public"), Who("viewer A", "viewer", "420502"), Who("officer A", "officer", "420502"), Who("officer B", "officer", "420505"),
    Who("planner B", "planner", "420505"), Who("planner", "planner"), Who("admin", "admin"),
)  # fmt: skip


@dataclass(frozen=True)
class Marker:
    """Where a value stands."""

    layer: str
    column: str
    classification: str
    code: str | None
    text: str


def may_see(who: Who, marker: Marker) -> bool:
    """The rules, written out once more."""
    inside = who.district == "" or (marker.code or "").startswith(who.district)
    if marker.layer == "":  # not of a layer: seen by the roles named in its class
        allowed = marker.classification.split(",")
        return (who.role if not who.district or who.role == "admin" else f"{who.role}-district") in allowed
    if who.role == "public":
        return marker.classification == "public" and marker.column not in HIDDEN_FROM_PUBLIC.get(marker.layer, set())
    if who.role == "viewer":
        return marker.classification == "public" or (marker.classification == "internal" and inside)
    if who.role in ("officer", "planner"):
        return marker.classification == "public" or inside
    return who.role == "admin"


@dataclass
class City:
    """The markers, by what they look like in an answer."""

    markers: dict[str, Marker] = field(default_factory=dict)
    #: Of a place in metres, the other coordinate: one by itself may be any number, or a corner of the grid that a tile is rounded to.
    partners: dict[str, str] = field(default_factory=dict)
    rows: dict[tuple[str, str, str], dict[str, Any]] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    then: str = ""
    raster_names: dict[str, Marker] = field(default_factory=dict)
    jobs: list[str] = field(default_factory=list)
    next: int = 0
    places: int = 0

    def number(self) -> int:
        self.next += 1
        return self.next

    def add(self, text: str, marker: Marker) -> str:
        if text in self.markers:
            raise AssertionError(f"marker {text} twice")
        self.markers[text] = marker
        return text

    def word(self, roles: str, where: str) -> str:
        """A marker that is no layer's, seen by ``roles``."""
        text = f"zq{self.number():x}z"
        return self.add(text, Marker("", where, roles, None, text))


@lru_cache
def _transformer(srid: int) -> pyproj.Transformer:
    return pyproj.Transformer.from_crs(4326, srid, always_xy=True)


def _place(city: City, kind: str, make: Any) -> str:
    city.places += 1
    n = city.places
    lon, lat, d = round(111.10007 + n * 0.00011, 5), round(30.50003 + n * 0.00013, 5), 0.00004
    corners = [(lon, lat), (lon + d, lat), (lon + d, lat + d), (lon, lat + d)]
    for x, y in [corners[0]] if "Point" in kind else corners[::2]:
        city.add(f"x{x:.5f}", make(f"{x:.5f}"))
        city.add(f"y{y:.5f}", make(f"{y:.5f}"))
        for srid in _SYSTEMS.values():
            there = _transformer(srid).transform(x, y)
            keys = [f"{axis}{srid}:{value:.1f}" for axis, value in zip("xy", there, strict=True)]
            for key, partner in (keys, keys[::-1]):
                if key not in city.markers:
                    city.markers[key] = make(key.partition(":")[2])
                    city.partners[key] = partner
    text = [f"{x:.5f} {y:.5f}" for x, y in corners]
    ring = f"(({', '.join([*text, text[0]])}))"
    line = f"({text[0]}, {text[2]})"
    return {
        "Point": f"POINT({text[0]})", "MultiPoint": f"MULTIPOINT({text[0]})", "LineString": f"LINESTRING{line}",
        "MultiLineString": f"MULTILINESTRING({line})", "Polygon": f"POLYGON{ring}", "MultiPolygon": f"MULTIPOLYGON({ring})",
        "LineStringM": f"LINESTRING M ({text[0]} 0, {text[2]} 10)", "Geometry": f"POLYGON{ring}",
    }[kind]  # fmt: skip


def _value(city: City, layer: LayerDeclaration, declared: FieldDeclaration, classification: str, district: str) -> Any:
    def make(text: str) -> Marker:
        return Marker(layer.name, declared.name, classification, CODES[district], text)

    n = city.number()
    kind = declared.type
    if kind in ("text", "code") or (kind == "enum" and not declared.is_integer_domain):
        word = f"zq{n:x}z"
        if len(word) > (declared.length or 20):
            return None if not declared.required else word[: declared.length]
        return city.add(word, make(word)).ljust(declared.length or 0, "0") if kind == "code" else city.add(word, make(word))
    if kind == "num":
        return float(city.add(f"{71_000_000 + n}.25", make(f"{71_000_000 + n}.25")))
    if kind == "enum":
        return declared.domain[0].value
    if kind == "int":
        return int(city.add(f"{710_000_000 + n}", make(f"{710_000_000 + n}")))
    if kind in ("date", "datetime"):
        day = dt.date(1300, 1, 1) + dt.timedelta(days=n)
        city.add(day.isoformat(), make(day.isoformat()))
        return day if kind == "date" else dt.datetime(day.year, day.month, day.day, 12, tzinfo=dt.UTC)
    if kind == "uuid":
        text = str(uuid.uuid5(NAMESPACE, f"value {n}"))
        return city.add(text, make(text))
    if kind == "text[]":
        word = f"zq{n:x}z"
        return [city.add(word, make(word))]
    if kind == "ref":
        return str(uuid.uuid5(NAMESPACE, f"{declared.references}/{classification}/{district}"))
    return True


def _row(
    city: City, layer: LayerDeclaration, classification: str, district: str, *, hidden_as: str | None = None, withdrawn: bool = False
) -> dict[str, Any]:
    shown = hidden_as or classification
    code = CODES[district]  # a code may be the key of a layer: another one for each row
    code = code and f"{code[:9]}{CLASSES.index(classification) + (9 if hidden_as or withdrawn else 1):03d}"
    row: dict[str, Any] = {"admin_code": code, "classification": classification}
    for declared in layer.all_fields:
        if declared.name in _FIXED:
            continue
        if declared.type == "geometry":
            row[declared.name] = _place(
                city, str(declared.geometry), lambda t, n=declared.name: Marker(layer.name, n, shown, CODES[district], t)
            )
        else:
            row[declared.name] = _value(city, layer, declared, shown, district)
    if layer.has_geometry:
        row["geom"] = _place(city, layer.geometry, lambda t: Marker(layer.name, "geom", shown, CODES[district], t))
    return row


def _statement(layer: LayerDeclaration, row: dict[str, Any], *, update: bool) -> str:
    places = {f.name for f in layer.all_fields if f.type == "geometry"} | {"geom"}

    def bound(name: str) -> str:
        return f"ST_GeomFromText(:{name}, 4490)" if name in places else f":{name}"

    if update:
        return f"UPDATE baige.{layer.name} SET {', '.join(f'{n} = {bound(n)}' for n in row if n != 'id')} WHERE id = :id"
    return f"INSERT INTO baige.{layer.name} ({', '.join(row)}) VALUES ({', '.join(map(bound, row))})"


def build(database: Database) -> City:
    """Fill every layer: each class in each district, each row with an earlier version of other markers."""
    city = City()
    layers = built_in()
    kinds = [(c, d, None) for c in CLASSES for d in CODES]
    first: dict[tuple[str, str, str], dict[str, Any]] = {}
    with database.begin() as connection:
        for layer in layers.values():
            more = [("public", "A", "restricted"), ("public", "B", "internal")] if layer.name in WITHDRAWN else []
            for classification, district, later in [*kinds, *more]:
                key = f"{layer.name}/{later or classification}/{district}" + ("/withdrawn" if later else "")
                row = {"id": str(uuid.uuid5(NAMESPACE, key)), **_row(city, layer, classification, district, hidden_as=later)}
                city.add(row["id"], Marker(layer.name, "id", later or classification, CODES[district], row["id"]))
                first[(layer.name, (later or classification) + ("!" if later else ""), district)] = row
                connection.execute(sa.text(_statement(layer, row, update=False)), row)
    with database.begin() as connection:
        moment: dt.datetime = connection.execute(sa.text("SELECT clock_timestamp()")).scalar_one()
        city.then = moment.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
    with database.begin() as connection:
        for (name, classification, district), old in first.items():
            now = {"id": old["id"], **_row(city, layers[name], classification.rstrip("!"), district, withdrawn="!" in classification)}
            city.rows[(name, classification, district)] = now
            connection.execute(sa.text(_statement(layers[name], now, update=True)), now)
    _platform(city, database)
    return city


STAFF = "planner,officer,admin"
EVERY_KEY = "viewer,viewer-district,officer,officer-district,planner,planner-district,admin"


def _platform(city: City, database: Database) -> None:
    """Markers in the platform's own tables: keys, runs, change sets, loads, quarantine."""
    with database.begin() as connection:
        for who in PEOPLE:
            key_id, key = new_key()
            city.keys[who.name] = "" if who.role == "public" else key
            if who.role != "public":
                connection.execute(
                    sa.text("INSERT INTO baige_sys.api_key (id, secret_sha256, role, district, note) VALUES (:i, :s, :r, :d, :n)"),
                    {"i": key_id, "s": hash_secret(key), "r": who.role, "d": who.district, "n": city.word("", "note of a key")},
                )
        connection.execute(
            sa.text(
                "INSERT INTO baige_sys.run (kind, title, parameters, inputs, software, actor, state, finished_at, summary)"
                " VALUES ('coverage', :t, cast(:p AS jsonb), cast(:i AS jsonb), '1', :a, 'done', now(), cast(:s AS jsonb))"
            ),
            {
                "t": city.word(EVERY_KEY, "title of a run"), "p": json.dumps({"x": city.word(STAFF, "parameters of a run")}),
                "i": json.dumps({"x": city.word(STAFF, "inputs of a run")}), "a": city.word("", "actor of a run"),
                "s": json.dumps({"x": city.word("", "summary of a run")}),
            },
        )  # fmt: skip
        load = str(uuid.uuid4())
        connection.execute(
            sa.text("INSERT INTO baige_sys.load_run (id, layer, file_name, actor) VALUES (:id, 'school', :f, :a)"),
            {"id": load, "f": city.word("", "name of a loaded file"), "a": city.word("", "actor of a load")},
        )
        connection.execute(
            sa.text(
                "INSERT INTO baige_sys.quarantine (load_id, layer, row_number, faults, row)"
                " VALUES (:l, 'school', 1, '[]', cast(:r AS jsonb))"
            ),
            {"l": load, "r": json.dumps({"x": city.word("", "row in quarantine")})},
        )
        connection.execute(sa.text("UPDATE baige_sys.change_set SET note = :n"), {"n": city.word(STAFF, "note of a change")})


def put_rasters(city: City, database: Database, home: Path) -> None:
    """A small raster of each kind and class, its name a marker."""
    import numpy as np
    import rasterio
    from rasterio.transform import from_origin

    folder = home / "rasters" / "leak"
    folder.mkdir(parents=True)
    every = f"public,{EVERY_KEY}"
    seen = {
        ("dem", "public"): every, ("dem", "internal"): EVERY_KEY, ("dem", "restricted"): STAFF,
        ("coverage", "public"): every, ("coverage", "internal"): "viewer," + STAFF, ("coverage", "restricted"): STAFF,
    }  # fmt: skip
    for (kind, classification), roles in seen.items():
        name = city.word(roles, f"raster {kind} {classification}")
        path = folder / f"{kind}-{classification}.tif"
        grid = from_origin(111.2, 30.7, 0.001, 0.001)
        with rasterio.open(path, "w", driver="GTiff", width=16, height=16, count=1, dtype="float32", crs="EPSG:4326", transform=grid) as out:
            out.write(np.full((1, 16, 16), 5.0, "float32"))
        flags = folder / f"{kind}-{classification}.flags.tif"
        with rasterio.open(flags, "w", driver="GTiff", width=16, height=16, count=1, dtype="uint8", crs="EPSG:4326", transform=grid) as out:
            out.write(np.zeros((1, 16, 16), "uint8"))
        city.raster_names[name] = city.markers[name]
        with database.begin() as connection:
            connection.execute(
                sa.text(
                    "INSERT INTO baige_sys.raster (name, kind, path, srid, west, south, east, north, cell_m, classification)"
                    " VALUES (:n, :k, :p, 4326, 111.2, 30.684, 111.216, 30.7, 100, :c)"
                ),
                {"n": name, "k": kind, "p": f"leak/{path.name}", "c": classification},
            )


def put_maps(city: City, home: Path) -> None:
    """A page drawn for staff and one drawn for everybody."""
    folder = home / "maps"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.html").write_text(f"<p>{city.word(STAFF, 'page for staff')}</p>")
    (folder / "open.html").write_text(f"<p>{city.word('public,' + EVERY_KEY, 'page for all')}</p>")
    (folder / "access.json").write_text(json.dumps({"role": "public", "files": ["open.html"]}))


def put_jobs(city: City, database: Database, home: Path) -> None:
    """A finished job of the city's planner, with a file, and one made without a key."""
    from api.jobs.store import JobStore

    JobStore(database.conninfo).prepare()
    (home / "jobs").mkdir(exist_ok=True)
    with database.begin() as connection:
        owner = connection.execute(sa.text("SELECT id FROM baige_sys.api_key WHERE role = 'planner' AND district = ''")).scalar_one()
        for process, result in (
            ("coverage", {"summary": city.word("planner,admin", "result of a job")}),
            ("export", {"file": "leak.csv", "collection": "school", "format": "csv"}),
        ):
            job = str(uuid.uuid4())
            city.jobs.append(job)
            connection.execute(
                sa.text(
                    "INSERT INTO baige_jobs.job (id, process, inputs, role, district, key_id, status, message, result) VALUES"
                    " (:id, :p, '{}', 'planner', '', :k, 'successful', :m, cast(:r AS jsonb))"
                ),
                {
                    "id": job, "p": process, "k": owner, "r": json.dumps(result),
                    "m": city.word("planner,admin", "message of a job"),
                },
            )  # fmt: skip
    (home / "jobs" / "leak.csv").write_text(city.word("planner,admin", "file of a job"))


# ---------------------------------------------------------------------------------------------------------------------------------


def _decoded(body: bytes, media: str, path: str) -> str:
    """The text of an answer, that of its binary formats too."""
    text = body.decode("utf-8", "replace")
    suffix = {"application/flatgeobuf": ".fgb", "application/geopackage+sqlite3": ".gpkg", "application/vnd.mapbox-vector-tile": ".pbf"}.get(media)
    if "parquet" in media:
        text += str(pq.read_table(io.BytesIO(body)).to_pylist())
    elif suffix and body:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"x{suffix}"
            file.write_bytes(body)
            options: dict[str, Any] = {}
            if suffix == ".pbf":
                z, y, x = path.split("?")[0].rsplit("/", 3)[1:]
                options = {"X": x, "Y": y, "Z": z}
            for name, _ in pyogrio.list_layers(file):
                frame = pyogrio.read_dataframe(file, layer=name, **options)
                text += frame.to_csv()
    return text


def found_in(city: City, body: bytes, media: str, path: str) -> set[str]:
    """Keys of the markers that stand in an answer."""
    # a TileJSON's centre is the middle of its bounds, the day an inspection is due some days after the last one: either may be a marker by chance
    text = re.sub(r'"center":\[[^]]*\]|"due_on":"[^"]*"', "", _decoded(body, media, path))
    if path.split("?")[0] == "/metrics":  # bytes and seconds of the processes are any number at all; names and labels are looked at
        text = re.sub(r"(?m) [-+.\deE]+$", "", text)
    found = {w for pattern in (_WORD, _DAY, _UUID) for w in pattern.findall(text) if w in city.markers}
    for token in set(_NUMBER.findall(text)):
        value = float(token)
        near = [token, f"{value:.2f}", f"{value:.0f}"]
        near += [f"{axis}{value:.5f}" for axis in "xy"]
        near += [f"{axis}{srid}:{round(value, 1) + step:.1f}" for axis in "xy" for srid in _SYSTEMS.values() for step in (-0.1, 0.0, 0.1)]
        found.update(key for key in near if key in city.markers)
    return {key for key in found if city.partners.get(key, key) in found}


@dataclass(frozen=True)
class Leak:
    """A marker where it must not be."""

    who: str
    path: str
    marker: Marker


@dataclass
class Report:
    """What a crawl came to."""

    requests: int = 0
    statuses: dict[int, int] = field(default_factory=dict)
    leaks: list[Leak] = field(default_factory=list)
    found: set[str] = field(default_factory=set)
    broken: list[str] = field(default_factory=list)


class Crawler:
    """Asks everything on behalf of somebody."""

    def __init__(self, client: httpx.Client, city: City, who: Who) -> None:
        self.client, self.city, self.who = client, city, who
        key = city.keys[who.name]
        self.headers = {"X-API-Key": key} if key else {}

    def get(self, path: str) -> httpx.Response:
        return self.client.get(path, headers=self.headers)

    def crawl(self, paths: Iterable[str]) -> Report:
        """Ask each address, and hold each answer against what the asker may see."""
        report = Report()
        with ThreadPoolExecutor(4) as pool:
            for path, answer in zip(paths := list(paths), pool.map(self.get, paths), strict=True):
                report.requests += 1
                report.statuses[answer.status_code] = report.statuses.get(answer.status_code, 0) + 1
                if answer.status_code >= 500:
                    report.broken.append(f"{answer.status_code} {path}")
                text = answer.content + str(dict(answer.headers)).encode()
                media = answer.headers.get("content-type", "").split(";")[0]
                if "+sqlite3" in media or "flatgeobuf" in media or "parquet" in media or "mapbox" in media:
                    text = answer.content
                asked = unquote(path)
                for key in found_in(self.city, text, media if answer.status_code == 200 else "", path):
                    marker = self.city.markers[key]
                    if marker.text in asked or key in asked:
                        continue  # an echo of what was asked
                    report.found.add(key)
                    if not may_see(self.who, marker):
                        report.leaks.append(Leak(self.who.name, path, marker))
        return report


def _items(layer: LayerDeclaration, city: City) -> Iterator[str]:
    """Every way to ask for features."""
    here = f"/collections/{layer.name}"
    then = {"as-of": city.then}
    formats = ("json", "jsonfg", "html", "csv", "fgb", "parquet", "gpkg")
    every = ",".join(f.name for f in layer.all_fields)
    for form in formats:
        yield f"{here}/items?{urlencode({'f': form, 'limit': 100})}"
    for form in ("json", "csv", "parquet"):
        yield f"{here}/items?{urlencode({'f': form, 'limit': 100, **then})}"
    for crs in _SYSTEMS:
        yield f"{here}/items?{urlencode({'crs': crs})}"
    yield f"{here}/items?{urlencode({'properties': every})}"
    yield f"{here}/items?{urlencode({'properties': ','.join(['name_zh', *(f.name for f in layer.all_fields if f.type == 'geometry')]), **then})}"
    yield f"{here}/items?{urlencode({'limit': 1})}"
    yield f"{here}/items?{urlencode({'bbox': '110,30,112,32', 'lang': 'zh'})}"
    yield f"{here}/items?{urlencode({'skipGeometry': 'true', 'sortby': '-changed_at'})}"
    yield f"{here}/items?{urlencode({'datetime': '1200-01-01/..'})}"
    yield f"{here}/items?{urlencode({'q': 'zq'})}"
    for declared in layer.all_fields:
        yield f"{here}/items?{urlencode({'sortby': '-' + declared.name, 'limit': 3})}"
        yield f"{here}/items?{urlencode({'filter': f'{declared.name} IS NOT NULL', 'limit': 3, 'f': 'json'})}"


def _rest(layer: LayerDeclaration, city: City) -> Iterator[str]:
    here = f"/collections/{layer.name}"
    for classification, district in (("public", "A"), ("internal", "A"), ("internal", "B"), ("restricted", "A"), ("restricted", "none")):
        item = f"{here}/items/{city.rows[(layer.name, classification, district)]['id']}"
        yield from (f"{item}?f={form}" for form in ("json", "jsonfg", "html"))
        yield f"{item}?{urlencode({'as-of': city.then})}"
    for matrix in ("WebMercatorQuad", "WorldCRS84Quad", "CGCS2000Quad"):
        for z, y, x in ((0, 0, 0), (8, 105, 207)) if matrix == "WebMercatorQuad" else ((0, 0, 1), (7, 42, 207)):
            yield f"{here}/tiles/{matrix}/{z}/{y}/{x}"
            yield f"{here}/tiles/{matrix}/{z}/{y}/{x}?{urlencode({'as-of': city.then})}"
        yield f"{here}/tiles/{matrix}/metadata"
        yield f"{here}/tiles/{matrix}/tilejson.json"
    yield f"{here}/styles/default?f=sld"
    yield f"{here}/styles/default?f=maplibre"
    yield f"/portal/labels/{layer.name}"
    yield from (f"/portal/tally/{layer.name}?{urlencode({'unit': 'grid', 'measure': measure})}" for measure in ("count", "density"))
    for declared in layer.fields:
        if declared.type in ("num", "int"):
            yield f"/portal/tally/{layer.name}?{urlencode({'unit': 'county', 'measure': 'mean', 'field': declared.name})}"


def addresses(document: dict[str, Any], routes: Iterable[str], city: City, names: Iterable[str]) -> list[str]:
    """Everything there is to GET: the document's paths and the server's own routes, filled with what there is of each."""
    chosen = set(names)
    layers = {name: layer for name, layer in built_in().items() if name in chosen}
    found: list[str] = []
    fill = {
        "matrix_set": ["WebMercatorQuad"], "tileMatrixSetId": ["WebMercatorQuad"], "z": ["8"], "tileMatrix": ["8"], "y": ["105"], "tileRow": ["105"],
        "x": ["207"], "tileCol": ["207"], "process": ["export", "coverage"], "job": city.jobs, "raster": list(city.raster_names),
        "record": ["school", "camera_site"], "style": ["default"], "name": ["maplibre-gl.css"], "path": [""],
    }  # fmt: skip
    for template in dict.fromkeys([*document["paths"], *routes]):
        in_layer = re.match(r"/collections/([a-z_]+)", template)
        if in_layer and in_layer[1] not in chosen:
            continue
        variants = [template]
        for name in dict.fromkeys(re.findall(r"\{(\w+)[^}]*\}", template)):
            if name == "collection":
                values = sorted(chosen)
            elif name in ("feature", "featureId"):
                values = [next(iter(city.rows.values()))["id"]]
            else:
                values = fill.get(name, ["1"])
            variants = [re.sub(r"\{" + name + r"[^}]*\}", quote(v, safe=""), one) for one in variants for v in values]
        for one in variants:
            found += [one, f"{one}?f=html", f"{one}?f=json&lang=zh"]
    for layer in layers.values():
        found += _items(layer, city)
        found += _rest(layer, city)
    found += ["/maps/", "/maps/index.html", "/maps/open.html", "/maps/access.json", "/maps/..%2Frasters/leak/dem-restricted.tif"]
    found += [f"/records?{urlencode({'q': 'zq'})}", "/records?type=analysis-run", "/jobs?limit=10", "/portal/session", "/portal/config.json"]
    return list(dict.fromkeys(found))


# ---------------------------------------------------------------------------------------------------------------------------------


def twins(layer: LayerDeclaration, city: City, who: Who) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Pairs of addresses: one asks for something hidden, the other for something that does not exist; and what differs in their texts.

    Whoever can tell the answers apart has learnt of the hidden thing.
    """
    here = f"/collections/{layer.name}"
    nothing, nobody = "zq0000z", str(uuid.uuid5(NAMESPACE, "nobody"))
    eras: tuple[dict[str, str], ...] = ({}, {"as-of": city.then})
    for (name, _, _), row in city.rows.items():
        if name != layer.name:
            continue
        if not may_see(who, city.markers[row["id"]]):
            for era in eras:
                yield f"{here}/items/{row['id']}?{urlencode(era)}", f"{here}/items/{nobody}?{urlencode(era)}", (row["id"], nobody)
                yield f"{here}/items?{urlencode({'ids': row['id'], **era})}", f"{here}/items?{urlencode({'ids': nobody, **era})}", (row["id"], nobody)
            text = next((str(v) for k, v in row.items() if k in layer.search and isinstance(v, str)), None)
            if text:
                yield f"{here}/items?{urlencode({'q': text})}", f"{here}/items?{urlencode({'q': nothing})}", (text, nothing)
                for form in ("name_zh = '{}'", "name_zh LIKE '{}%'", "CASEI(name_zh) = CASEI('{}')"):
                    one, two = form.format(row["name_zh"]), form.format(nothing)
                    yield f"{here}/items?{urlencode({'filter': one})}", f"{here}/items?{urlencode({'filter': two})}", (row["name_zh"], nothing)
                pair = [f"{here}/items?{urlencode({'name_zh': word})}" for word in (row["name_zh"], nothing)]
                yield pair[0], pair[1], (row["name_zh"], nothing)
            if "geom" in row:
                x, y = (float(v) for v in re.findall(r"-?\d+\.\d+", row["geom"])[:2])
                boxes = [f"{a - 1e-5:.6f},{b - 1e-5:.6f},{a + 1e-5:.6f},{b + 1e-5:.6f}" for a, b in ((x, y), (111.9, 30.05))]
                for era in eras:
                    one, two = (f"{here}/items?{urlencode({'bbox': box, **era})}" for box in boxes)
                    yield one, two, tuple(boxes)
                points = [f"S_INTERSECTS(geometry, BBOX({box}))" for box in boxes]
                yield f"{here}/items?{urlencode({'filter': points[0]})}", f"{here}/items?{urlencode({'filter': points[1]})}", tuple(points)
        for column in () if who.role != "public" else HIDDEN_FROM_PUBLIC.get(layer.name, ()):
            value = str(row.get(column))
            for form in ("{} = '{}'", "{} IS NULL", "{} LIKE 'zq%'"):
                one, two = (quote(form.format(c, value)) for c in (column, "nosuch"))
                yield f"{here}/items?filter={one}", f"{here}/items?filter={two}", (column, "nosuch")
            for parameter in ("sortby", "properties"):
                yield f"{here}/items?{parameter}={column}", f"{here}/items?{parameter}=nosuch", (column, "nosuch")
            yield f"{here}/items?{column}={quote(value)}", f"{here}/items?nosuch={quote(value)}", (column, "nosuch")


def told_apart(one: httpx.Response, two: httpx.Response, different: tuple[str, ...]) -> str | None:
    """How two answers differ beyond the words that were asked; None where they do not."""
    if one.status_code != two.status_code:
        return f"status {one.status_code} and {two.status_code}"
    texts = []
    for answer in (one, two):
        text = answer.text
        for word in different:
            for form in {word, quote(word), urlencode({"": word})[1:], json.dumps(word)[1:-1]}:
                text = text.replace(form, "…")
        text = re.sub(r'"timeStamp":"[^"]*"', "", text)
        texts.append(re.sub(r"cursor=[\w-]+", "", text))
    if texts[0] != texts[1]:
        return f"{texts[0][:300]} | {texts[1][:300]}"
    counts = [answer.headers.get("OGC-NumberMatched") for answer in (one, two)]
    return None if counts[0] == counts[1] else f"counts {counts}"

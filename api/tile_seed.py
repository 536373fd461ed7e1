"""Making tiles before anybody asks for them: into the files of `api.tile_store`, here or by the workers of a dask cluster.

A tile is made as the server makes it and kept under the same name, so the server finds it. Tiles that are there already are passed over: a run
that was broken off goes on where it ended, and after a change only what is missing for the new state is made.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from api.settings import ServeSettings
from api.state import scope_of
from api.tile_store import KEPT_MOST_BYTES, REGISTRY, TileStore, salt_of, tile_key, version_of
from gis.crs import source_crs, transform_coordinates
from gis.errors import ConfigError, DatabaseTimeout, InputError, LimitExceeded, NotFound
from gis.settings import Settings
from gis.spreading import spread
from layers.access import Principal
from layers.cluster import resolve_database_url
from layers.database import Database
from layers.query.items import Question, count_sql
from layers.query.source import Source
from layers.query.tilegrid import MAX_ZOOM, Tile, matrix_set
from layers.query.tiles import TileRules, tile_sql
from layers.registry import declaration_of, extent_of, storage_srid

__all__ = ["Box", "Seeded", "area_box", "seed", "tiles_in"]

#: West, south, east, north in degrees.
Box = tuple[float, float, float, float]

#: Tiles of one layer at most: a city at zoom 18 has a fifth of that.
_TILES_MAX = 1_000_000
#: Tiles that are done at a time, here by one thread, on a cluster by one worker.
_BATCH = 16
_COUNTER = sa.text("SELECT change_counter FROM baige_sys.layer WHERE name = :name")


@dataclass(frozen=True)
class Seeded:
    """What became of the tiles of one layer.

    Attributes
    ----------
    tiles, made, there : int
        All, those made now, and those that were there already; the rest took longer than a tile may, or was too large to keep.
    size : int
        Bytes of those made now.
    changed : bool
        The layer was changed meanwhile: some of the tiles are of the state before, and will not be asked for any more.
    """

    layer: str
    tiles: int
    made: int
    there: int
    size: int
    changed: bool

    @property
    def left_out(self) -> int:
        """Tiles that the server has to make when they are asked for."""
        return self.tiles - self.made - self.there


@dataclass(frozen=True)
class _Job:
    """All that a worker needs to know; where the database is it knows itself, so that no password goes over the wire."""

    layer: str
    principal: Principal
    matrix_set: str
    folder: Path
    most_bytes: int
    cap: int
    timeout_s: float
    version: str
    total: int | None


@dataclass(frozen=True)
class _Done:
    made: int = 0
    there: int = 0
    size: int = 0
    counters: frozenset[int] = frozenset()

    def __add__(self, other: "_Done") -> "_Done":
        return _Done(self.made + other.made, self.there + other.there, self.size + other.size, self.counters | other.counters)


def area_box(database: Database, area: str) -> Box:
    """The box around the administrative areas whose code begins with ``area`` (digits).

    Raises
    ------
    NotFound
        There is none.
    """
    asked = "SELECT ST_XMin(e), ST_YMin(e), ST_XMax(e), ST_YMax(e) FROM (SELECT ST_Extent(ST_Transform(geom, 4326)) AS e FROM baige.admin_area"
    with database.begin(readonly=True) as connection:
        found = connection.execute(sa.text(f"{asked} WHERE admin_code ^@ :area) AS b WHERE e IS NOT NULL"), {"area": area}).first()
    if found is None:
        raise NotFound(f"No administrative area has the code {area}.", zh=f"没有区划代码为 {area} 的区域。")
    west, south, east, north = (float(value) for value in found)
    return west, south, east, north


def tiles_in(name: str, box: Box, zooms: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Level, column, row of the tiles of a matrix set that meet a box, level by level and row by row.

    Examples
    --------
    >>> list(tiles_in("WebMercatorQuad", (111.2, 30.6, 111.4, 30.8), [0, 8]))
    [(0, 0, 0), (8, 207, 104)]
    """
    for z in zooms:
        rows, columns = _ranges(name, box, z)
        for y in rows:
            for x in columns:
                yield z, x, y


def _ranges(name: str, box: Box, z: int) -> tuple[range, range]:
    """Rows and columns at a level."""
    found = matrix_set(name)
    xs, ys = np.array([box[0], box[2]]), np.clip([box[1], box[3]], -85.0, 85.0) if found.srid == 3857 else np.array([box[1], box[3]])
    west_east, south_north = transform_coordinates(xs, ys, source_crs(4326), found.srid)
    size = found.size0 / (1 << z)

    def between(low: float, high: float, most: int) -> range:
        first, last = math.floor(low / size), math.ceil(high / size) - 1
        return range(max(0, min(first, most - 1)), max(0, min(max(last, first), most - 1)) + 1)

    columns = between(float(west_east[0]) - found.origin[0], float(west_east[1]) - found.origin[0], found.columns0 << z)
    rows = between(found.origin[1] - float(south_north[1]), found.origin[1] - float(south_north[0]), found.rows0 << z)
    return rows, columns


def seed(
    database: Database,
    serve: ServeSettings,
    layer: str,
    *,
    zooms: Sequence[int],
    box: Box | None = None,
    principal: Principal = Principal("public"),  # noqa: B008 it is frozen
    tile_matrix_set: str = "WebMercatorQuad",
    workers: int = 2,
    scheduler: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Seeded:
    """Make the tiles of a layer as ``principal`` sees it.

    Parameters
    ----------
    zooms : sequence of int
        Levels of the matrix set.
    box : tuple of float, optional
        Only tiles that meet it; the layer's extent without it.
    workers : int
        Tiles made at the same time here.
    scheduler : str, optional
        Address of a dask.distributed scheduler (``tcp://…``) to make them on instead. Its workers find database and folder as this process
        does: they have the same settings (``BAIGE_DATABASE_URL`` or ``BAIGE_HOME``) and see the same folder under the same path.

    Raises
    ------
    ConfigError
        No folder is set, or a worker uses another database.
    InputError
        The layer has no places that the principal may see, or there is no such level.
    LimitExceeded
        More than a million tiles.
    NotFound
        There is no such layer or matrix set.
    """
    if serve.tile_store is None:
        raise ConfigError("No folder for tiles is set (BAIGE_SERVE_TILE_STORE).", zh="未设置瓦片文件夹（BAIGE_SERVE_TILE_STORE）。")
    if not zooms or min(zooms) < 0 or max(zooms) > MAX_ZOOM:
        raise InputError(f"Levels are 0 to {MAX_ZOOM}.", zh=f"级别为 0–{MAX_ZOOM}。")
    with database.begin(readonly=True) as connection:
        version = _version(connection)
        source = Source.of(declaration_of(connection, layer), storage_srid(connection), principal.role)
        if not source.has_geometry:
            raise InputError(f"Role {principal.role} sees no places of {layer}.", zh=f"角色 {principal.role} 看不到图层 {layer} 的位置。")
        box = box or extent_of(connection, layer)
        before = int(connection.execute(_COUNTER, {"name": layer}).scalar_one())
    total = sum(len(rows) * len(columns) for rows, columns in (_ranges(tile_matrix_set, box, z) for z in zooms)) if box else 0
    if total > _TILES_MAX:
        raise LimitExceeded(
            f"{layer}: {total:,} tiles; at most {_TILES_MAX:,}. Ask for a smaller area or fewer levels.",
            zh=f"{layer}：共 {total:,} 个瓦片，上限 {_TILES_MAX:,}；请缩小区域或减少级别。",
        )
    if progress is not None:
        progress(0, total)
    job = _Job(
        layer, principal, tile_matrix_set, serve.tile_store.resolve(), serve.tile_store_mb * 1_000_000, serve.tile_cap, serve.tile_timeout_s,
        version, _count(database, source, principal, serve.count_timeout_s),
    )  # fmt: skip
    wanted = list(tiles_in(tile_matrix_set, box, zooms)) if box else []
    batches = [wanted[start : start + _BATCH] for start in range(0, total, _BATCH)]
    sum_of, done = _Done(), 0
    results = spread(_work, job, batches, scheduler=scheduler) if scheduler else _on_threads(database, job, batches, workers)
    for batch, part in results:
        sum_of, done = sum_of + part, done + len(batch)
        if progress is not None:
            progress(done, total)
    return Seeded(layer, total, sum_of.made, sum_of.there, sum_of.size, not sum_of.counters <= {before})


def _count(database: Database, source: Source, principal: Principal, timeout_s: float) -> int | None:
    """How many features the layer has for the principal, as the server counts them; None where that takes too long."""
    counting = count_sql(Question(source))
    try:
        with database.begin(principal, readonly=True, timeout_s=timeout_s) as connection:
            return int(Database.fetch(connection, counting.text, counting.params, most=1)[0][0])
    except DatabaseTimeout:
        return None


def _version(connection: sa.Connection) -> str:
    return version_of(Database.fetch(connection, REGISTRY, (), most=100_000))


Batch = list[tuple[int, int, int]]


def _on_threads(database: Database, job: _Job, batches: list[Batch], workers: int) -> Iterator[tuple[Batch, _Done]]:
    store = TileStore(job.folder, most_bytes=job.most_bytes, salt=salt_of(job.cap))
    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="tiles") as pool:
        running = ((batch, pool.submit(_make, database, store, job, batch)) for batch in batches)
        ahead: list[tuple[Batch, Any]] = []
        for pair in running:
            ahead.append(pair)
            if len(ahead) > 2 * workers:
                batch, future = ahead.pop(0)
                yield batch, future.result()
        for batch, future in ahead:
            yield batch, future.result()


@cache
def _own_database() -> Database:
    """Of a worker of a cluster: what its own settings say."""
    return Database(resolve_database_url(Settings(), check=False), pool_size=2)


@cache
def _own_store(folder: Path, most_bytes: int, cap: int) -> TileStore:
    return TileStore(folder, most_bytes=most_bytes, salt=salt_of(cap))


def _work(job: _Job, batch: Batch) -> _Done:
    """A batch on a worker of a cluster."""
    return _make(_own_database(), _own_store(job.folder, job.most_bytes, job.cap), job, batch)


def _make(database: Database, store: TileStore, job: _Job, batch: Batch) -> _Done:
    done, waiting = _Done(), list(batch)
    while waiting:
        try:
            # one state for counter and tiles: what another commits in between would be kept under a number that stands for the state before
            with database.begin(job.principal, readonly=True, snapshot=True, timeout_s=job.timeout_s) as connection:
                if _version(connection) != job.version:
                    raise ConfigError(
                        "The layers have changed since the run began, or a worker of the cluster uses another database.",
                        zh="图层定义已变更，或集群的工作进程使用了另一个数据库。",
                    )
                counter = int(connection.execute(_COUNTER, {"name": job.layer}).scalar_one())
                source = Source.of(declaration_of(connection, job.layer), storage_srid(connection), job.principal.role)
                while waiting:
                    done += _one(connection, store, job, source, counter, matrix_set(job.matrix_set).tile(*waiting[0]))
                    del waiting[0]
        except DatabaseTimeout:  # the server may take its time for this one when it is asked for
            del waiting[0]
    return done


def _one(connection: sa.Connection, store: TileStore, job: _Job, source: Source, counter: int, tile: Tile) -> _Done:
    key = tile_key(source, tile, scope_of(job.principal), (), counter, job.version)
    if store.recall(key) is not None:
        return _Done(there=1, counters=frozenset({counter}))
    sql = tile_sql(source, tile, total=job.total, rules=TileRules(cap=job.cap))
    body = bytes(Database.fetch(connection, sql.text, sql.params, most=1)[0][0])
    if len(body) >= KEPT_MOST_BYTES:
        return _Done(counters=frozenset({counter}))
    store.keep(key, body)
    return _Done(made=1, size=len(body), counters=frozenset({counter}))

"""What each camera sees, as polygons for display; how much of it falls on residential plots; what only this camera sees."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import shapely
import sqlalchemy as sa

from gis.cameras import Assumed, CameraTable, prepare
from gis.coverage import CoverageResult, compute
from gis.coverage_drawn import drawn_view
from gis.coverage_place import place
from gis.coverage_views import CameraView, views
from gis.errors import Cancelled, InputError
from gis.raster import polygons_of
from gis.settings import CityConfig
from gis.visibility_surface import Buildings, Surface
from grids.scene import read_scene
from layers.access import SYSTEM, Principal
from layers.database import Database
from layers.frames import replace_results
from layers.runs import run

__all__ = ["RESIDENTIAL_BUFFER_M", "ViewsReport", "camera_views", "residential_ground", "run_views"]

Step = Callable[[str, str, int, int], None]

#: A residential plot is taken to be the house and this much around it: yard, windows, entrance.
RESIDENTIAL_BUFFER_M = 5.0
_BATCH = 1000
_LAYERS = ("camera_site", "building", "water")
_WORDS = {bit: bit.name.lower() for bit in Assumed if bit.name}


@dataclass(frozen=True)
class ViewsReport:
    """What a run found, in figures."""

    run_id: UUID
    summary: dict[str, Any] = field(default_factory=dict)


def residential_ground(
    buildings: gpd.GeoDataFrame, *, cell_m: float, buffer_m: float = RESIDENTIAL_BUFFER_M
) -> Surface | None:
    """Residential plots as a surface whose ``building`` cells are theirs; None where no building is residential.

    Parameters
    ----------
    buildings : GeoDataFrame of polygons in the analysis system
        With ``building_kind``.
    buffer_m : float
        Ground around a residential building that counts with it.
    """
    homes = buildings.geometry.to_numpy()[(buildings["building_kind"] == "residential").to_numpy(dtype=bool)]
    if len(homes) == 0:
        return None
    plots = shapely.buffer(homes, buffer_m, quad_segs=2) if buffer_m > 0 else homes
    return Surface(cell_m=cell_m, buildings=Buildings.from_polygons(plots, np.ones(len(plots))))


def run_views(
    database: Database,
    city: CityConfig,
    home: Path,
    *,
    area: str | None = None,
    mode: str = "exact",
    cell_m: float | None = None,
    residential_buffer_m: float = RESIDENTIAL_BUFFER_M,
    workers: int | None = None,
    principal: Principal = SYSTEM,
    progress: Step | None = None,
    cancel: Callable[[], bool] | None = None,
) -> ViewsReport:
    """Fill layer ``camera_view``: one row for each camera that sees anything.

    Rows are written a thousand at a time in one transaction, so that memory stays small and a run that is broken off changes nothing.

    Parameters
    ----------
    area : str, optional
        Prefix of an administrative code: only cameras there; views of others stay as they are.
    mode, cell_m, workers
        As for a coverage run.
    residential_buffer_m : float
        Ground around residential buildings that counts as their plot.

    Raises
    ------
    InputError
        The buffer or the area makes no sense.
    Cancelled
        ``cancel`` said so.
    """
    if not 0 <= residential_buffer_m <= 100:
        raise InputError("The buffer must be 0 to 100 m.", zh="缓冲距离须为 0–100 米。")
    prefix = area_prefix(area)
    tell = progress or (lambda _en, _zh, _done, _total: None)
    parameters = {
        "area": area,
        "mode": mode,
        "cell_m": cell_m or city.coverage.cell_m,
        "target_height_m": city.coverage.target_height_m,
        "density_px_m": min(city.coverage.densities_px_m),
        "residential_buffer_m": residential_buffer_m,
    }
    with run(database, kind="camera-views", parameters=parameters, layers=_LAYERS, principal=principal) as current:
        tell("reading the layers", "读取图层", 0, 1)
        with database.begin(readonly=True, snapshot=True) as connection:
            scene = read_scene(connection, city, home, cell_m=cell_m)
        tell("reading the layers", "读取图层", 1, 1)
        table = prepare(
            scene.cameras,
            defaults=city.camera_defaults,
            densities_px_m=city.coverage.densities_px_m,
            crs=city.analysis_srid,
            bounds=scene.surface.bounds,
            range_max_m=city.coverage.range_max_m,
        )
        register = scene.cameras.set_index("id")
        code = register["admin_code"].reindex(list(table.id)).fillna("").astype(str)
        wanted = np.flatnonzero(code.str.startswith(prefix).to_numpy())
        chosen = place(table.take(wanted), scene.surface).cameras
        result = compute(
            near(table, chosen),
            scene.surface,
            target_height_m=city.coverage.target_height_m,
            densities_px_m=city.coverage.densities_px_m,
            mode=mode,
            workers=workers,
            progress=lambda done, total: tell("lines of sight", "视线计算", done, total),
            cancel=cancel,
        )
        ground = residential_ground(scene.buildings, cell_m=scene.surface.cell_m, buffer_m=residential_buffer_m)
        figures = _Figures()
        with database.begin() as connection:
            scope: tuple[str, Sequence[str]] | None = (
                ("admin_code", _stored_codes(connection, prefix)) if prefix else None
            )
            for frame in camera_views(chosen, register, scene.surface, result, residential=ground, workers=workers):
                if cancel is not None and cancel():
                    raise Cancelled("Stopped on request.", zh="已按要求停止。")
                replace_results(connection, "camera_view", frame, run=current, scope=scope)
                scope = ("camera_id", ())  # the first call took the old rows away; the others add
                figures.add(frame)
                tell("views of cameras", "单机可视范围", figures.cameras, len(chosen))
            if figures.cameras == 0:
                empty = gpd.GeoDataFrame({"camera_id": []}, geometry=[], crs=table.crs).rename_geometry("geom")
                replace_results(connection, "camera_view", empty, run=current, scope=scope)
        tell("views of cameras", "单机可视范围", len(chosen), len(chosen))
        current.summary.update(figures.summary(len(chosen)))
        current.summary["assumptions"] = [*result.assumptions, *scene.notes]
    return ViewsReport(current.id, current.summary)


def area_prefix(area: str | None) -> str:
    """The digits that an administrative code must begin with; pairs of zeros at the end of a full code stand for "all of it".

    Raises
    ------
    InputError
        It is no administrative code.

    Examples
    --------
    >>> area_prefix("420502000000"), area_prefix("4205"), area_prefix(None)
    ('420502', '4205', '')
    """
    if not area:
        return ""
    if not area.isdigit() or len(area) > 12:
        raise InputError(
            f"{area!r} is no administrative code: up to 12 digits.", zh=f"{area!r} 不是行政区划代码（至多 12 位数字）。"
        )
    for size, part in ((12, 3), (9, 3), (6, 2), (4, 2)):
        if len(area) == size and area.endswith("0" * part):
            area = area[: size - part]
    return area


def near(table: CameraTable, chosen: CameraTable) -> CameraTable:
    """The cameras of a table whose view can meet that of any chosen one."""
    if len(chosen) == 0 or len(table) == len(chosen):
        return table if len(chosen) else table.take(np.empty(0, dtype=np.int64))
    tree = shapely.STRtree(np.atleast_1d(shapely.points(chosen.x, chosen.y)))
    most = float(chosen.reach_m.max())
    # a camera inside a building may be moved by up to some tens of metres: leave room for that
    found = tree.query(shapely.points(table.x, table.y), predicate="dwithin", distance=table.reach_m + most + 150.0)
    return table.take(np.unique(found[0]))


def _stored_codes(connection: sa.Connection, prefix: str) -> list[str]:
    rows = connection.execute(
        sa.text("SELECT DISTINCT admin_code FROM baige.camera_view WHERE starts_with(admin_code, :prefix)"),
        {"prefix": prefix},
    )
    return [str(row[0]) for row in rows]


def camera_views(
    cameras: CameraTable,
    register: gpd.GeoDataFrame,
    surface: Surface,
    result: CoverageResult,
    *,
    residential: Surface | None = None,
    workers: int | None = None,
) -> Iterator[gpd.GeoDataFrame]:
    """Rows of layer ``camera_view``, up to a thousand cameras at a time; ``attrs["drawn"]`` of a frame says how many are drawn by geometry.

    ``geom`` is the polygon among footprints where that agrees with the cells (`gis.coverage_drawn`), else their outline. All figures are those of
    the cells.

    Parameters
    ----------
    cameras : CameraTable
        As placed on the surface (`gis.coverage_place.place`).
    register : GeoDataFrame
        Index ``id``; with ``name_zh``, ``admin_code``, ``net_status``.
    result : CoverageResult
        Counts of all cameras whose view meets theirs: what only one sees is read from them.
    residential : Surface, optional
        From `residential_ground`.
    """
    at = {name: i for i, name in enumerate(cameras.id)}
    rows: list[dict[str, Any]] = []
    drawn = 0
    for view in views(cameras, surface, target_height_m=result.target_height_m, mode=result.mode, workers=workers or 2):
        sure = bool((view.confirmed > 0).any())
        cells = (view.confirmed if sure else view.possible) > 0
        if not cells.any():
            continue
        i, camera = at[view.id], register.loc[view.id]
        polygon = drawn_view(view, cameras, i, surface, confirmed=sure, target_height_m=result.target_height_m)
        drawn += polygon is not None
        online = {1: True, 0: False}.get(int(cameras.online[i]))
        rows.append(
            {
                "camera_id": view.id,
                "name_zh": camera["name_zh"],
                "admin_code": camera["admin_code"],
                "certainty": "confirmed" if sure else "possible",
                "density_px_m": result.densities_px_m[0],
                "online": online,
                "area_m2": _m2(cells, view),
                "only_here_m2": _only_here(view, result) if sure else 0.0,
                "assumed": [word for bit, word in _WORDS.items() if int(cameras.assumed[i]) & bit],
                "geom": _outline(cells, view) if polygon is None else polygon,
                **_residential(cells, view, residential),
            }
        )
        if len(rows) == _BATCH:
            yield _frame(rows, cameras.crs, drawn)
            rows, drawn = [], 0
    if rows:
        yield _frame(rows, cameras.crs, drawn)


def _frame(rows: list[dict[str, Any]], crs: Any, drawn: int) -> gpd.GeoDataFrame:
    frame = gpd.GeoDataFrame(rows, geometry="geom", crs=crs)
    frame.attrs["drawn"] = drawn
    frame["residential_mask"] = gpd.GeoSeries(frame["residential_mask"], crs=crs)
    return frame


def _m2(cells: npt.NDArray[np.bool_], view: CameraView) -> float:
    return round(float(np.count_nonzero(cells)) * view.cell_m**2, 2)


def _outline(cells: npt.NDArray[np.bool_], view: CameraView) -> Any:
    """Polygon of cells without the steps of the lattice: no corner moves by more than a cell."""
    shape = polygons_of(cells, row=view.row, col=view.col, cell_m=view.cell_m)
    smooth = shapely.simplify(shape, view.cell_m, preserve_topology=True)
    return smooth if smooth.is_valid and not smooth.is_empty else shape


def _only_here(view: CameraView, result: CoverageResult) -> float:
    """Square metres that this camera surely sees and no other one does, whether they are online or not."""
    cells = view.confirmed > 0
    counts = result.window(view.row, view.col, *cells.shape)[result.band("confirmed_installed")]
    return _m2(cells & (counts == 1), view)


def _residential(cells: npt.NDArray[np.bool_], view: CameraView, ground: Surface | None) -> dict[str, Any]:
    if ground is None:
        return {"share_residential": 0.0, "residential_mask": None}
    on = cells & (ground.window(view.row, view.col, *cells.shape).building >= 0)
    share = float(np.count_nonzero(on)) / float(np.count_nonzero(cells))
    return {"share_residential": round(share, 4), "residential_mask": _outline(on, view) if on.any() else None}


class _Figures:
    """Sums over the rows that were written."""

    def __init__(self) -> None:
        self.cameras = self.confirmed = self.residential = self.alone = self.drawn = 0
        self.area_m2 = self.alone_m2 = self.residential_m2 = 0.0
        self.worst: list[tuple[float, str, str | None]] = []

    def add(self, frame: gpd.GeoDataFrame) -> None:
        self.cameras += len(frame)
        self.drawn += int(frame.attrs["drawn"])
        self.confirmed += int((frame["certainty"] == "confirmed").sum())
        self.residential += int((frame["share_residential"] > 0.5).sum())
        self.area_m2 += float(frame["area_m2"].sum())
        self.residential_m2 += float((frame["area_m2"] * frame["share_residential"]).sum())
        self.alone += int((frame["only_here_m2"] > 0).sum())
        self.alone_m2 += float(frame["only_here_m2"].sum())
        top = frame.nlargest(10, "only_here_m2")
        rows = zip(top["only_here_m2"].astype(float), top["camera_id"], top["name_zh"], strict=True)
        self.worst = sorted([*self.worst, *rows], key=lambda row: (-row[0], row[1]))[:10]

    def summary(self, cameras: int) -> dict[str, Any]:
        return {
            "cameras": cameras,
            "with_a_view": self.cameras,
            "confirmed": self.confirmed,
            "possible": self.cameras - self.confirmed,
            "see_nothing": cameras - self.cameras,
            "drawn_by_geometry": self.drawn,
            "residential_share": round(self.residential_m2 / self.area_m2, 4) if self.area_m2 else None,
            "mostly_residential": self.residential,
            "single_points": self.alone,
            "only_here_m2": round(self.alone_m2),
            "most_at_stake": [
                {"camera_id": camera, "name_zh": name, "only_here_m2": metres} for metres, camera, name in self.worst
            ],
        }

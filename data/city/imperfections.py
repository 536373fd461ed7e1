"""Faults planted on purpose in cameras, grid cells, buildings and layout, with the key that names them."""

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray

from data.city.cameras import CameraSites
from data.city.cells import Cells
from data.city.frame import rng_for, to_degrees
from data.city.places import Places
from data.city.plan import Plan
from gis.crs import wgs84_to_gcj02

__all__ = ["spoil_buildings", "spoil_cameras", "spoil_grid", "spoil_layout"]

#: Share of cameras by fault.
_SHARES = {
    "camera_without_azimuth": 0.12,
    "camera_offline": 0.04,
    "camera_status_unknown": 0.01,
    "camera_unfiled": 0.02,
    "camera_unsigned": 0.015,
    "camera_short_retention": 0.01,
    "camera_declared_gcj02": 0.03,
    "camera_mislabelled_gcj02": 0.005,
}

Answers = dict[str, list[str]]


def spoil_cameras(plan: Plan, frame: gpd.GeoDataFrame, sites: CameraSites, places: Places) -> Answers:
    """Plant faults in ``camera_site`` (in place) and return the identifiers of each."""
    rng, n = rng_for(plan.seed, "camera faults"), len(frame)
    ids = frame["id"].to_numpy(dtype=object)
    free = np.flatnonzero(~np.isin(sites.group, ("ring",)))
    chosen = {
        name: np.sort(rng.choice(free, max(3, round(share * n)), replace=False)) for name, share in _SHARES.items()
    }
    chosen["camera_status_unknown"] = np.setdiff1d(chosen["camera_status_unknown"], chosen["camera_offline"])
    chosen["camera_declared_gcj02"] = np.setdiff1d(chosen["camera_declared_gcj02"], chosen["camera_mislabelled_gcj02"])
    column = {c: frame.columns.get_loc(c) for c in frame.columns}
    azimuth = frame["azimuth_deg"].to_numpy(dtype=float, copy=True)
    azimuth[chosen["camera_without_azimuth"]] = np.nan
    frame["azimuth_deg"] = azimuth
    direction = frame["direction"].astype("Int64")
    direction.iloc[chosen["camera_without_azimuth"]] = None
    frame["direction"] = direction
    for name, field, value in (
        ("camera_offline", "net_status", "off"),
        ("camera_status_unknown", "net_status", "unknown"),
        ("camera_unfiled", "filing_date", None),
        ("camera_unsigned", "sign_posted", False),
        ("camera_short_retention", "retention_days", 15),
        ("camera_declared_gcj02", "src_crs", "gcj02"),
        ("camera_declared_gcj02", "positional_acc_m", 5.0),
    ):
        frame.iloc[chosen[name], column[field]] = value
    repair = chosen["camera_offline"][::3]
    frame.iloc[repair, column["device_state"]] = "repair"
    # Delivered as if WGS 84, but in GCJ-02: some 600 m off, and nothing in the row says so.
    wrong = chosen["camera_mislabelled_gcj02"]
    xy = shapely.get_coordinates(frame.geometry.to_numpy())
    xy[wrong] = np.column_stack(wgs84_to_gcj02(xy[wrong, 0], xy[wrong, 1]))
    moved = np.round(xy, 9)
    # Two indoor cameras in places where none may be, two beside a military area without consent.
    street = np.setdiff1d(np.flatnonzero(sites.group == "street"), np.concatenate(list(chosen.values())))
    spare = rng.choice(street, 4, replace=False)
    targets = [shapely.centroid(places.private[0]), shapely.centroid(places.private[1])]
    edge = [shapely.get_exterior_ring(m) for m in places.military]
    targets += [shapely.line_interpolate_point(e, 30.0) for e in edge]
    moved[spare] = shapely.get_coordinates(to_degrees(np.array(targets, dtype=object)))
    frame.iloc[spare[:2], column["room_type"]] = 2
    frame.iloc[spare, column["admin_code"]] = plan.locator.of_geometry(np.array(targets, dtype=object))
    frame.geometry = gpd.GeoSeries(shapely.points(moved), index=frame.index, crs=frame.crs)
    answers = {name: ids[index].tolist() for name, index in chosen.items()}
    answers["camera_in_sensitive_place"] = ids[spare[:2]].tolist()
    answers["camera_near_military"] = ids[spare[2:]].tolist()
    return answers


def spoil_grid(plan: Plan, cells: Cells, frame: gpd.GeoDataFrame) -> Answers:
    """Plant two gaps, two overlaps and two wrong prefixes in ``grid_cell`` (in place)."""
    rng = rng_for(plan.seed, "grid faults")
    inner = np.flatnonzero((cells.kind == "block") & (cells.area_m2 > 12_000.0) & (cells.density > 0.3))
    pick: NDArray[np.int64] = rng.choice(inner, 6, replace=False)
    geometry = frame.geometry.to_numpy(dtype=object).copy()
    shrunk = shapely.buffer(cells.polygons[pick[:2]], -6.0, join_style="mitre")
    grown = shapely.buffer(cells.polygons[pick[2:4]], 5.0, join_style="mitre")
    for k, shape in zip(pick[:4], [*shrunk, *grown], strict=True):
        parts = shapely.get_parts(shape)
        geometry[k] = to_degrees(
            np.array([shapely.multipolygons([parts[shapely.area(parts).argmax()]])], dtype=object)
        )[0]
    frame.geometry = gpd.GeoSeries(geometry, index=frame.index, crs=frame.crs)
    codes = plan.division.community_code
    column = frame.columns.get_loc("grid_code")
    for number, k in enumerate(pick[4:]):
        other = codes[(int(plan.division.community[k]) + 7) % len(codes)]
        frame.iloc[k, column] = f"{other}{990 + number:03d}"
    ids = frame["id"].to_numpy(dtype=object)
    return {
        "grid_gap": ids[pick[:2]].tolist(),
        "grid_overlap": ids[pick[2:4]].tolist(),
        "grid_wrong_prefix": ids[pick[4:]].tolist(),
    }


def spoil_buildings(plan: Plan, frame: gpd.GeoDataFrame) -> Answers:
    """Move two small buildings into the protection zone of a railway and two into a highway's control zone (in place)."""
    rng = rng_for(plan.seed, "building faults")
    small = np.flatnonzero((shapely.area(plan.buildings.polygons) < 260.0) & (plan.buildings.block < 0))
    pick = rng.choice(small, 4, replace=False)
    rail = plan.network.rails[0]
    at = float(shapely.line_locate_point(rail, shapely.Point(545500.0, 3414500.0)))
    national = np.flatnonzero(
        (plan.network.grade == "provincial") & ~plan.network.bridge & (shapely.length(plan.network.lines) > 9000.0)
    )
    spots = [
        (rail, at, 16.0),
        (rail, at + 300.0, 16.5),
        (plan.network.lines[national[0]], 4000.0, 16.0),
        (plan.network.lines[national[1]], 4500.0, 16.0),
    ]
    geometry = frame.geometry.to_numpy(dtype=object).copy()
    for k, (line, where, away) in zip(pick, spots, strict=True):
        p, q = shapely.get_coordinates(shapely.line_interpolate_point(line, [where, where + 4.0]))
        d = (q - p) / np.hypot(*(q - p))
        n = np.array([-d[1], d[0]])
        centre = p + n * away
        ring = np.array(
            [centre - d * 5 - n * 3, centre + d * 5 - n * 3, centre + d * 5 + n * 3, centre - d * 5 + n * 3]
        )
        geometry[k] = to_degrees(np.array([shapely.multipolygons([shapely.Polygon(ring)])], dtype=object))[0]
    frame.geometry = gpd.GeoSeries(geometry, index=frame.index, crs=frame.crs)
    frame.iloc[pick, frame.columns.get_loc("admin_code")] = plan.locator.of_geometry(
        np.array(
            [
                shapely.Point(*shapely.get_coordinates(shapely.line_interpolate_point(line, where))[0])
                for line, where, _ in spots
            ],
            dtype=object,
        )
    )
    ids = frame["id"].to_numpy(dtype=object)
    return {"building_near_railway": ids[pick[:2]].tolist(), "building_near_highway": ids[pick[2:]].tolist()}


def spoil_layout(plan: Plan, frame: gpd.GeoDataFrame) -> Answers:
    """Move two layout points just out of their grid (in place); their code still names it."""
    rng = rng_for(plan.seed, "layout faults")
    points = np.flatnonzero(frame["level"].to_numpy() == "point")
    pick = np.sort(rng.choice(points, 2, replace=False))
    geometry = frame.geometry.to_numpy(dtype=object).copy()
    for k in pick:
        geometry[k] = shapely.Point(geometry[k].x + 0.03, geometry[k].y)
    frame.geometry = gpd.GeoSeries(geometry, index=frame.index, crs=frame.crs)
    return {"layout_point_outside_grid": frame["id"].to_numpy(dtype=object)[pick].tolist()}

"""The riverbank by chainage: which stretches are watched, in what way, and which are not."""

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from shapely.ops import substring

from gis.coverage import CoverageResult
from grids.watch import watch_points

__all__ = ["bank_segments", "station"]

_STEP_M = 2.0
_SIDES = {"L": "left bank", "R": "right bank"}


def station(metres: float) -> str:
    """Chainage as engineers write it.

    Examples
    --------
    >>> station(12345.4)
    'K12+345'
    """
    whole = round(metres)
    return f"K{whole // 1000}+{whole % 1000:03d}"


def bank_segments(result: CoverageResult, banks: gpd.GeoDataFrame, *, step_m: float = _STEP_M) -> gpd.GeoDataFrame:
    """Cut banks into stretches of one state of watching.

    Parameters
    ----------
    result : CoverageResult
    banks : GeoDataFrame
        LineStrings in the analysis system with ``reach_code``, ``bank_side``, ``start_m``, ``end_m``; chainage runs evenly along each.
    step_m : float
        Distance of the places that are looked at; a stretch ends half-way between two that differ.

    Returns
    -------
    GeoDataFrame
        Fields of layer ``bank_coverage``; the stretches of a bank follow each other without gap and make up its whole length.
        The index is the number of the bank in ``banks``.
    """
    rows: list[dict[str, object]] = []
    owner: list[int] = []
    for number, bank in enumerate(banks.itertuples()):
        line = bank.geom
        length = line.length
        if length == 0:
            continue
        start = 0.0 if pd.isna(bank.start_m) else float(bank.start_m)
        end = start + length if pd.isna(bank.end_m) else float(bank.end_m)
        steps = max(1, int(np.ceil(length / step_m)))
        middles = (np.arange(steps) + 0.5) * length / steps
        places = shapely.line_interpolate_point(line, middles)
        watch = watch_points(result, shapely.get_x(places), shapely.get_y(places))
        cuts = np.flatnonzero(watch.state[1:] != watch.state[:-1]) + 1
        for first, last in zip([0, *cuts], [*cuts, steps], strict=True):
            along = np.array([first, last]) * length / steps
            chainage = start + along / length * (end - start)
            part = slice(first, last)
            density = watch.density_px_m[part]
            known = density[~np.isnan(density)]
            owner.append(number)
            rows.append(
                {
                    "reach_code": bank.reach_code,
                    "bank_side": bank.bank_side,
                    "start_m": float(chainage.min()),
                    "end_m": float(chainage.max()),
                    "length_m": float(along[1] - along[0]),
                    "stationing": f"{station(chainage.min())}–{station(chainage.max())}",
                    "state": str(watch.state[first]),
                    "density_px_m": float(known.min()) if len(known) else np.nan,
                    "cameras": int(watch.installed[part].max()),
                    "admin_code": bank.admin_code,
                    "name_zh": bank.name_zh,
                    "geom": substring(line, *along),
                }
            )
    columns = [
        "reach_code",
        "bank_side",
        "start_m",
        "end_m",
        "length_m",
        "stationing",
        "state",
        "density_px_m",
        "cameras",
        "admin_code",
        "name_zh",
    ]
    return gpd.GeoDataFrame(
        rows, columns=[*columns, "geom"], index=pd.Index(owner, dtype="int64"), geometry="geom", crs=banks.crs
    )

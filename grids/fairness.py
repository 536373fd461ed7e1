"""How evenly a city is watched: by county, street, community and urban–rural class.

Units are compared, never persons. What a unit has is the share of its public space that online cameras surely see.
"""

from typing import Any

import geopandas as gpd
import numpy as np

__all__ = ["FAIRNESS_KINDS", "fairness"]

#: Kinds of units that are compared.
FAIRNESS_KINDS = ("county", "street", "urban_rural")

_LISTED = 5


def fairness(by_unit: gpd.GeoDataFrame) -> dict[str, Any]:
    """Compare the units of layer ``coverage_by_grid``.

    Parameters
    ----------
    by_unit : GeoDataFrame
        Rows of the layer.

    Returns
    -------
    dict
        By kind of unit: ``units``; ``share`` of all of them together; ``best`` and ``worst`` unit and their ``ratio`` (worst by best, null
        where nothing is seen at all); ``spread``, the mean distance of a unit's share from that of all, each unit weighted with its public
        space; ``below_half``, units seen less than half as much as the whole; ``least``, the units seen least, at most five. Urban–rural
        classes are all listed. A unit without public space is not compared.

    Examples
    --------
    >>> rows = gpd.GeoDataFrame({"unit_kind": ["county"] * 2, "admin_code": ["1", "2"], "name_zh": ["甲", "乙"],
    ...                          "urban_rural": [None, None], "public_m2": [100.0, 300.0], "online_overview": [0.4, 0.1]})
    >>> told = fairness(rows)["county"]
    >>> told["share"], told["ratio"], told["spread"], told["best"]["name_zh"], told["below_half"]
    (0.175, 0.25, 0.1125, '甲', 0)
    """
    told: dict[str, Any] = {}
    if "online_overview" not in by_unit:
        return told
    for kind in FAIRNESS_KINDS:
        rows = by_unit[(by_unit["unit_kind"] == kind) & (by_unit["public_m2"] > 0) & by_unit["online_overview"].notna()]
        if rows.empty:
            continue
        share = rows["online_overview"].to_numpy(dtype=float)
        ground = rows["public_m2"].to_numpy(dtype=float)
        whole = float((share * ground).sum() / ground.sum())
        code = "urban_rural" if kind == "urban_rural" else "admin_code"
        units = [
            {
                "code": None if c is None else str(c),
                "name_zh": None if n is None else str(n),
                "share": round(float(s), 4),
            }
            for c, n, s in zip(rows[code], rows["name_zh"], share, strict=True)
        ]
        order = np.lexsort((np.array([unit["code"] or "" for unit in units], dtype=np.str_), share))
        worst, best = units[order[0]], units[order[-1]]
        told[kind] = {
            "units": len(units),
            "share": round(whole, 4),
            "worst": worst,
            "best": best,
            "ratio": round(float(share.min() / share.max()), 4) if share.max() > 0 else None,
            "spread": round(float((np.abs(share - whole) * ground).sum() / ground.sum()), 4),
            "below_half": int((share < 0.5 * whole).sum()),
            "least": [units[k] for k in (order if kind == "urban_rural" else order[:_LISTED])],
        }
    return told

"""Schools of OpenStreetMap: kind, boundary and entrances."""

import re
from typing import Any

import shapely

from data.osm.notes import Notes
from data.osm.reader import OsmObject

__all__ = ["SCHOOL_AMENITIES", "school_kind", "school_row"]

LAYER = "school"
SCHOOL_AMENITIES = frozenset({"school", "kindergarten", "college", "university"})

#: Read in this order: 学院街小学 is a primary school, 大学附属中学 a secondary one.
_NAMES = (
    ("special", r"特殊教育|特教|培智|聋哑|盲校|启智"),
    (
        "kindergarten",
        r"幼儿园|幼稚园|托儿所|maternelle|kindergarten|kindergarden|cr[èe]che|nursery|pre-?school|garderie",
    ),
    ("primary", r"小学|完小|primary|elementary|[ée]l[ée]mentaire|primaire|grundschule|scuola elementare"),
    (
        "secondary",
        r"中学|初中|高中|[一二三四五六七八九十]中$|附中|lyc[ée]e|coll[èe]ge|secondary|high school|middle school|gymnasium",
    ),
    ("college", r"大学|学院|职业|技师|技工|党校|university|universit[ée]"),
)
_LEVELS = {
    "0": "kindergarten",
    "1": "primary",
    "2": "secondary",
    "3": "secondary",
    "4": "college",
    "5": "college",
    "6": "college",
}


def school_kind(tags: dict[str, str]) -> str | None:
    """Kind of school (value of the layer's domain) from ``amenity``, ``isced:level``, ``school`` and the name; None if none tells.

    A school of several levels counts by its lowest above kindergarten: what is near it must suit its youngest pupils.

    Examples
    --------
    >>> school_kind({"amenity": "school", "name": "宜昌市西陵区学院街小学"}), school_kind({"amenity": "school", "isced:level": "2;3"})
    ('primary', 'secondary')
    >>> school_kind({"amenity": "school"}) is None
    True
    """
    amenity = tags.get("amenity")
    if amenity == "kindergarten":
        return "kindergarten"
    if amenity in ("college", "university"):
        return "college"
    if "special" in tags.get("school", "") or tags.get("special_education") == "yes":
        return "special"
    levels = sorted(set(re.findall(r"[0-6]", tags.get("isced:level", ""))))
    if levels:
        above = [level for level in levels if level != "0"]
        return _LEVELS[(above or levels)[0]]
    for key in ("school", "school:FR", "school:MC", "name", "name:zh", "name:en", "official_name"):
        text = tags.get(key, "").lower()
        for kind, pattern in _NAMES:
            if text and re.search(pattern, text):
                return kind
    return None


def school_row(thing: OsmObject, gates: dict[int, tuple[float, float]], notes: Notes) -> dict[str, Any] | None:
    """Fields of ``school``; None for what is none. ``geometry`` is a point inside; an area also gives ``boundary``.

    Entrances are nodes of the boundary that are tagged ``entrance`` or as a gate.
    """
    if thing.tags.get("amenity") not in SCHOOL_AMENITIES:
        return None
    kind = school_kind(thing.tags)
    if kind is None:
        notes.remark(LAYER, "school without a level; kind left unknown")
    row: dict[str, Any] = {"school_kind": kind, "boundary": None, "entrances": None, "geometry": thing.geometry}
    if shapely.get_dimensions(thing.geometry) == 2:
        row["boundary"] = thing.geometry
        row["geometry"] = shapely.point_on_surface(thing.geometry)
        found = [gates[node] for node in dict.fromkeys(thing.node_ids) if node in gates]
        if found:
            row["entrances"] = shapely.MultiPoint(found)
        else:
            notes.remark(LAYER, "boundary without a mapped entrance")
    else:
        notes.remark(LAYER, "mapped as a point: no boundary, no entrances")
    return row

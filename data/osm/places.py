"""Buildings, roads, railways, waters and other places of OpenStreetMap as rows of their layers."""

import re
from collections.abc import Callable
from typing import Any

from data.osm.notes import Notes
from data.osm.privacy import organisation
from data.osm.values import building_height_m, count, length_m, speed_km_h

__all__ = ["AREA_ROWS", "LINE_ROWS", "POINT_ROWS", "RowMaker"]

Tags = dict[str, str]
Row = dict[str, Any]
#: Makes the fields of a layer from tags; None for what does not belong to it.
RowMaker = Callable[[Tags, Notes], Row | None]

_BUILDINGS = {
    "residential": "residential apartments house detached semidetached_house terrace dormitory bungalow villa cabin static_caravan",
    "commercial": "commercial retail office hotel supermarket kiosk restaurant shop",
    "industrial": "industrial warehouse factory manufacture hangar",
    "public": "public civic government train_station stadium sports_hall sports_centre fire_station castle museum transportation grandstand",
    "school": "school kindergarten university college",
    "medical": "hospital clinic",
    "religious": "religious church chapel cathedral temple mosque synagogue shrine monastery",
    "garage": "garage garages parking carport",
    "other": "yes roof shed service greenhouse hut ruins construction bunker container barn toilets pier railway bridge pavilion",
}
_BUILDING_KIND = {value: kind for kind, values in _BUILDINGS.items() for value in values.split()}
_ROADS = {
    "motorway": "motorway motorway_link",
    "trunk": "trunk trunk_link",
    "primary": "primary primary_link",
    "secondary": "secondary secondary_link",
    "tertiary": "tertiary tertiary_link",
    "residential": "residential living_street unclassified",
    "service": "service busway bus_guideway services",
    "pedestrian": "pedestrian",
    "track": "track",
    "path": "path footway cycleway steps bridleway corridor via_ferrata",
    "other": "road raceway construction platform escape emergency_bay rest_area ladder",
}
_ROAD_CLASS = {value: kind for kind, values in _ROADS.items() for value in values.split()}
_NOT_THERE = frozenset({"proposed", "planned", "abandoned", "razed", "dismantled", "demolished", "removed", "no"})
_RAIL_CLASS = {
    "rail": "rail", "subway": "subway", "light_rail": "subway", "monorail": "subway", "tram": "tram", "funicular": "tram",
    "narrow_gauge": "industrial", "disused": "other", "construction": "other", "preserved": "other", "miniature": "other",
}  # fmt: skip
_RAIL_OTHER = frozenset(
    {"platform", "platform_edge", "station", "halt", "turntable", "traverser", "signal_box", "yard", "roundhouse"}
)
_WATERWAY = {
    "river": "river",
    "stream": "stream",
    "canal": "canal",
    "drain": "drain",
    "ditch": "drain",
    "tidal_channel": "other",
}
_WATER_KIND = {
    "river": "river", "oxbow": "river", "rapids": "river", "lock": "canal", "canal": "canal", "ditch": "canal", "drain": "canal",
    "lake": "lake", "lagoon": "lake", "reservoir": "reservoir", "pond": "pond", "basin": "pond", "wastewater": "pond",
    "reflecting_pool": "pond", "fountain": "pond", "moat": "pond", "stream": "river", "stream_pool": "river", "harbour": "sea", "bay": "sea",
}  # fmt: skip
_LAND = {
    "residential": "residential", "commercial": "commercial", "retail": "commercial", "industrial": "industrial",
    "forest": "forest", "farmland": "farmland", "meadow": "farmland", "orchard": "farmland", "vineyard": "farmland", "farmyard": "farmland",
    "recreation_ground": "park", "village_green": "park", "education": "public", "institutional": "public", "religious": "public",
    "cemetery": "public", "railway": "transport", "port": "transport", "construction": "other", "brownfield": "other", "greenfield": "other",
}  # fmt: skip
_LAND_NATURAL = {"wood": "forest", "beach": "waterfront"}
_PLACES = {
    "city": "city", "town": "town", "suburb": "suburb", "quarter": "suburb", "neighbourhood": "suburb", "borough": "suburb",
    "village": "village", "hamlet": "village", "isolated_dwelling": "village", "island": "island", "islet": "island", "locality": "other",
    "square": "other",
}  # fmt: skip
_CROSSINGS = {
    "zebra": "zebra", "marked": "zebra", "uncontrolled": "zebra", "traffic_signals": "signal", "unmarked": "other", "island": "other",
    "informal": "other",
}  # fmt: skip
_MEDICAL = {"hospital": "hospital", "clinic": "clinic", "doctors": "clinic", "health_post": "health_centre"}
_LEVEL_M = 3.0


def _flag(tags: Tags, key: str) -> bool:
    return tags.get(key, "no") not in ("no", "")


def _level(tags: Tags, layer: str, notes: Notes) -> int | None:
    text = tags.get("layer")
    if text is None:
        return None
    if re.fullmatch(r"\s*[+-]?\d{1,2}\s*", text) and abs(int(text)) <= 10:
        return int(text)
    notes.unknown_value(layer, "layer", text)
    return None


def _coded(
    tags: Tags, key: str, codes: dict[str, str], layer: str, notes: Notes, *, otherwise: str | None
) -> str | None:
    value = tags[key].strip().lower()
    if value not in codes:
        notes.unknown_value(layer, key, tags[key])
    return codes.get(value, otherwise)


def building(tags: Tags, notes: Notes) -> Row | None:
    """A building: height from ``height``, else levels at 3 m (then ``height_assumed``), else unknown."""
    kind = tags.get("building")
    if kind is None or kind in _NOT_THERE:
        return None
    height_m, basis = building_height_m(tags, level_m=_LEVEL_M)
    if basis == "unreadable":
        for key in ("height", "building:levels"):
            if key in tags:
                notes.unknown_value("building", key, tags[key])
    lower_m = length_m(tags.get("min_height"))
    if lower_m is None and (steps := count(tags.get("building:min_level"))):
        lower_m = steps * _LEVEL_M
    if lower_m is not None and (lower_m < 0 or (height_m is not None and lower_m >= height_m)):
        notes.unknown_value("building", "min_height", tags.get("min_height") or tags.get("building:min_level", ""))
        lower_m = None
    levels = count(tags.get("building:levels"))
    return {
        "building_kind": _coded(tags, "building", _BUILDING_KIND, "building", notes, otherwise="other"),
        "height_m": height_m,
        "min_height_m": lower_m,
        "levels": levels if levels is not None and levels <= 200 else None,
        "height_assumed": basis != "height",
    }


def road(tags: Tags, notes: Notes) -> Row | None:
    """A road, street, path or flight of steps with its class."""
    value = tags.get("highway")
    if value is None:
        return None
    if value in _NOT_THERE:
        notes.skip("road", f"highway={value}")
        return None
    lanes = count(tags.get("lanes"))
    if "lanes" in tags and (lanes is None or lanes > 30):
        notes.unknown_value("road", "lanes", tags["lanes"])
        lanes = None
    width_m = length_m(tags.get("width"))
    if "width" in tags and (width_m is None or not 0 <= width_m <= 300):
        notes.unknown_value("road", "width", tags["width"])
        width_m = None
    speed = speed_km_h(tags.get("maxspeed"))
    if "maxspeed" in tags and (speed is None or speed > 200):
        notes.unknown_value("road", "maxspeed", tags["maxspeed"])
        speed = None
    if tags.get("area") == "yes":
        notes.remark("road", "an area, kept by its outline")
    return {
        "road_no": (tags.get("ref") or "")[:60] or None,
        "road_class": _coded(tags, "highway", _ROAD_CLASS, "road", notes, otherwise="other"),
        "bridge": _flag(tags, "bridge"),
        "tunnel": _flag(tags, "tunnel") or _flag(tags, "covered"),
        "osm_layer": _level(tags, "road", notes),
        "oneway": tags.get("oneway") in ("yes", "1", "true", "-1"),
        "lane_count": None if lanes is None else int(lanes),
        "width_m": width_m,
        "speed_limit_kmh": None if speed is None else round(speed),
    }


def railway(tags: Tags, notes: Notes) -> Row | None:
    """A railway track that lies there; abandoned and razed ones are skipped and counted."""
    value = tags.get("railway")
    if value is None or value in _RAIL_OTHER:
        return None
    if value in _NOT_THERE:
        notes.skip("railway", f"railway={value}")
        return None
    if value not in _RAIL_CLASS:
        notes.unknown_value("railway", "railway", value)
        return None
    kind = _RAIL_CLASS[value]
    if value == "rail":
        speed = speed_km_h(tags.get("maxspeed")) or 0.0
        if tags.get("highspeed") == "yes" or speed >= 200:
            kind = "high_speed"
        elif tags.get("usage") in ("industrial", "military") or tags.get("service") == "spur":
            kind = "industrial"
    return {
        "rail_class": kind,
        "bridge": _flag(tags, "bridge"),
        "tunnel": _flag(tags, "tunnel"),
        "osm_layer": _level(tags, "railway", notes),
    }


def waterway(tags: Tags, notes: Notes) -> Row | None:
    """The line of a river, stream or ditch."""
    value = tags.get("waterway")
    if value not in _WATERWAY:
        return None
    return {
        "waterway_kind": _WATERWAY[value],
        "underground": tags.get("tunnel", "no") != "no" or tags.get("location") == "underground",
    }


def water(tags: Tags, notes: Notes) -> Row | None:
    """A water surface; swimming pools are none."""
    if tags.get("waterway") == "riverbank":
        return {"water_kind": "river"}
    if tags.get("landuse") in ("reservoir", "basin"):
        return {"water_kind": "reservoir" if tags["landuse"] == "reservoir" else "pond"}
    if tags.get("natural") == "bay":
        return {"water_kind": "sea"}
    if tags.get("natural") != "water":
        return None
    if "water" not in tags:
        return {"water_kind": "other"}
    return {"water_kind": _coded(tags, "water", _WATER_KIND, "water", notes, otherwise="other")}


def land_use(tags: Tags, notes: Notes) -> Row | None:
    """A plot by its use; kinds without a meaning for the city (grass, flower beds) are left out."""
    kind = _LAND.get(tags.get("landuse", "")) or _LAND_NATURAL.get(tags.get("natural", ""))
    if kind is None and tags.get("leisure") in ("park", "garden", "playground"):
        kind = "park"
    if kind is None and tags.get("place") == "square":
        kind = "square"
    return None if kind is None else {"use_kind": kind}


def _key_kind(tags: Tags) -> str | None:
    if tags.get("man_made") in ("pier", "quay") or tags.get("waterway") == "dock" or tags.get("harbour", "no") != "no":
        return "wharf"
    if tags.get("industrial") in ("port", "harbour") or tags.get("landuse") in ("port", "harbour"):
        return "wharf"
    if tags.get("industrial") in ("chemical", "oil", "petrochemical", "refinery", "gas", "fertilizer", "fertiliser"):
        return "chem_site"
    if tags.get("man_made") == "tailings_pond":
        return "tailings"
    if tags.get("landuse") == "landfill":
        return "solid_waste_dump"
    if tags.get("landuse") == "quarry":
        return "mining_blasting"
    if tags.get("landuse") == "industrial" or tags.get("man_made") == "works":
        return "industrial"
    if tags.get("amenity") == "fuel":
        return "hazmat_site"
    if tags.get("amenity") == "ferry_terminal":
        return "ferry"
    if tags.get("railway") in ("station", "halt") or tags.get("amenity") == "bus_station":
        return "station"
    return "bridge" if tags.get("man_made") == "bridge" else None


def key_area(tags: Tags, notes: Notes) -> Row | None:
    """Wharves, industrial and chemical sites, bridges, stations and others that stand in OpenStreetMap; nothing military."""
    kind = _key_kind(tags)
    if kind is None or "military" in tags or tags.get("landuse") == "military":
        return None
    owner, left_out = organisation(tags)
    if left_out:
        notes.personal["operator"] += 1
    return {"kind": kind, "owner_org": owner}


def pollution_source(tags: Tags, notes: Notes) -> Row | None:
    """Treatment plants and dumps; an industrial site is a key area, since nothing says that it pollutes."""
    if tags.get("man_made") == "wastewater_plant":
        kind = "wastewater"
    elif tags.get("landuse") == "landfill" or tags.get("amenity") == "waste_transfer_station":
        kind = "solid_waste"
    else:
        return None
    owner, left_out = organisation(tags)
    if left_out:
        notes.personal["operator"] += 1
    return {"kind": kind, "company": owner}


def medical_site(tags: Tags, notes: Notes) -> Row | None:
    """Hospitals and clinics; the practice of a named doctor loses its name."""
    kind = _MEDICAL.get(tags.get("amenity", ""))
    return None if kind is None else {"kind": kind}


def crossing(tags: Tags, notes: Notes) -> Row | None:
    """A pedestrian crossing."""
    if tags.get("highway") != "crossing" or tags.get("crossing") == "no":
        return None
    if "crossing" not in tags:
        return {"kind": "other"}
    return {"kind": _coded(tags, "crossing", _CROSSINGS, "crossing", notes, otherwise="other")}


def pole(tags: Tags, notes: Notes) -> Row | None:
    """A lamp post that could carry a camera."""
    return {"kind": "lamp"} if tags.get("highway") == "street_lamp" else None


def place(tags: Tags, notes: Notes) -> Row | None:
    """A named place or summit."""
    if tags.get("natural") == "peak":
        return {"place_kind": "peak"}
    kind = _PLACES.get(tags.get("place", ""))
    return None if kind is None or not tags.get("name") else {"place_kind": kind}


_ADMIN_LEVELS = {"3": "province", "4": "province", "5": "city", "6": "county", "7": "street", "8": "street"}


def admin_area(tags: Tags, notes: Notes) -> Row | None:
    """An administrative area; levels as used in China (4 province, 5 prefecture, 6 county, 8 town or street)."""
    if tags.get("boundary") != "administrative" or tags.get("admin_level") in (None, "9", "10"):
        return None
    level = _ADMIN_LEVELS.get(tags["admin_level"])
    if level is None:
        notes.skip("admin_area", f"admin_level={tags['admin_level'][:10]}")
        return None
    return {"level": level, "admin_code": _admin_code(tags)}


def community(tags: Tags, notes: Notes) -> Row | None:
    """A community, village or quarter (administrative level 9 or 10)."""
    if tags.get("boundary") != "administrative" or tags.get("admin_level") not in ("9", "10"):
        return None
    name = tags.get("name", "")
    kind = (
        "residents"
        if "社区" in name or "居委" in name
        else "villagers"
        if name.endswith("村") or "村委" in name
        else None
    )
    return {"committee_kind": kind, "admin_code": _admin_code(tags)}


def _admin_code(tags: Tags) -> str | None:
    for key in ("ref:admin", "ref:gb2260", "gb2260", "admin_code", "ref"):
        value = tags.get(key, "").strip()
        if re.fullmatch(r"[1-9]\d{5}(?:\d{3}|\d{6})?", value):
            return value.ljust(12, "0")
    return None


#: Which layers an object can belong to, by its shape. An object may be in several: a school building is a building and a school.
POINT_ROWS: dict[str, RowMaker] = {
    "key_area": key_area, "pollution_source": pollution_source, "medical_site": medical_site, "crossing": crossing, "pole": pole, "place": place,
}  # fmt: skip
LINE_ROWS: dict[str, RowMaker] = {"road": road, "railway": railway, "waterway": waterway}
AREA_ROWS: dict[str, RowMaker] = {
    "building": building, "water": water, "land_use": land_use, "key_area": key_area, "pollution_source": pollution_source,
    "medical_site": medical_site, "admin_area": admin_area, "community": community,
}  # fmt: skip

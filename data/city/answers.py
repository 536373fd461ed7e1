"""Who finds what is planted in the reference city: every fault of the answer key with the rule or check that must name it.

This is for tests and benchmarks; nothing of it is stored, and no analysis reads it.
"""

from collections.abc import Iterable, Mapping, Sequence

__all__ = ["ELSEWHERE", "LAYOUT", "RULES", "RULES_UNPLANTED", "missed"]

#: Rules by fault: each object of the fault is the object of a finding of that rule.
RULES: dict[str, str] = {
    "outfall_in_source_zone": "1", "polluter_in_source_zone": "2b", "outfall_zone_misses_target": "4", "outfall_unapproved": "5",
    "chem_new_near_yangtze": "6a", "chem_existing_near_yangtze": "6b", "tailings_new_near_yangtze": "7", "dump_in_river_area": "8",
    "hazwaste_in_red_line": "9a", "river_works_without_permit": "10", "building_near_railway": "12a",
    "pumping_near_high_speed_rail": "13", "blasting_near_rail": "14", "sand_mining_at_rail_bridge": "15", "hazmat_near_road": "16a",
    "building_near_highway": "17", "chem_outside_park": "18", "internet_cafe_near_school": "19", "trade_near_school": "20",
    "school_without_crossing": "21a", "camera_in_sensitive_place": "22", "camera_near_military": "23", "camera_unfiled": "24",
    "camera_unsigned": "24", "camera_short_retention": "24", "outfall_far_from_bank": "27a", "outfall_wrong_bank": "27b",
}  # fmt: skip

#: What rules find beyond their own faults, and why that is no false alarm.
RULES_UNPLANTED: dict[str, str] = {
    "11": "works drawn at random stand in shoreline zones of protection and reserve: real in this city, though nobody planted them",
    "18": "the new chemical works by the Yangtze (planted for 6a) stand outside a park, too",
    "21b": "roads near schools have the limits that streets are drawn with",
    "25": "cells beside one that was blown up overlap it: each finding has a planted cell on one of its sides",
}

#: Kinds of faults of the layout check by fault of the key: the planted object is among those that the fault names.
LAYOUT: dict[str, tuple[str, ...]] = {
    "grid_gap": ("cell_gap",),
    "grid_overlap": ("cell_overlap",),
    "grid_wrong_prefix": ("cell_code_prefix",),
    "layout_point_outside_grid": ("point_outside_container", "point_outside_all"),
    # a road that runs on the ring within half a metre is named as such, not as a way across
    "ring_crossing_without_camera": ("crossing_unwatched", "road_along_ring"),
}

#: Neither rule nor layout: where these are dealt with.
ELSEWHERE: dict[str, str] = {
    "camera_without_azimuth": "coverage: counted as left out or seen all round, with the cause in the gaps",
    "camera_offline": "coverage: sees nothing online; causes of gaps; the watch of outfalls",
    "camera_status_unknown": "coverage: online and possible coverage differ by it",
    "camera_declared_gcj02": "loading: transformed, with 5 m of accuracy",
    "camera_mislabelled_gcj02": "loading: no row says so; it shows as points of the layout apart from their cameras",
}


def missed(
    key: Mapping[str, Sequence[str]], by_rule: Mapping[str, Iterable[str]], by_kind: Mapping[str, Iterable[str]]
) -> dict[str, list[str]]:
    """Planted objects that the rule or check of their fault did not name; and faults that nobody is said to find.

    Parameters
    ----------
    key : mapping of fault to identifiers
    by_rule : mapping of rule to identifiers
        Objects of the findings of each rule.
    by_kind : mapping of kind to identifiers
        Objects that faults of the layout of each kind name.
    """
    left: dict[str, list[str]] = {}
    for fault, ids in key.items():
        if fault in ELSEWHERE:
            continue
        found = set(by_rule.get(RULES.get(fault, ""), ()))
        found |= {i for kind in LAYOUT.get(fault, ()) for i in by_kind.get(kind, ())}
        if gone := [str(i) for i in ids if str(i) not in found]:
            left[fault] = gone
    return left

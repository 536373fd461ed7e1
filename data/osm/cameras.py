"""Surveillance cameras of OpenStreetMap as rows of the layer ``camera_site``.

Tags: https://wiki.openstreetmap.org/wiki/Tag:man_made=surveillance and the keys ``camera:*``.
"""

from typing import Any

from data.osm.notes import Notes
from data.osm.privacy import organisation
from data.osm.values import direction, length_m, tilt_below_horizon_deg

__all__ = ["camera_row"]

LAYER = "camera_site"

#: A dome of OpenStreetMap is "a freely moving camera, also known as PTZ"; panning turns by a path or a joystick.
_STRUCTURE = {"fixed": 3, "dome": 1, "panning": 4, "ptz": 1, "panorama": 6, "panoramic": 6, "doorbell": 3, "bullet": 3}
_STEADY = frozenset({3, 6})
_ROOM = {"outdoor": 1, "public": 1, "indoor": 2}
_SAYS_NOTHING = frozenset({"yes", "private", "unknown"})
_MOUNT = {
    "pole": "pole", "street_lamp": "pole", "street_light": "pole", "lamp_post": "pole", "mast": "pole", "traffic_signals": "pole",
    "utility_pole": "pole", "power_pole": "pole", "post": "pole", "wall": "wall", "building": "wall", "facade": "wall", "ceiling": "other",
    "roof": "other", "tree": "other", "bridge": "other", "gantry": "other", "sign": "other", "other": "other", "ground": "other",
}  # fmt: skip


def _looks(tags: dict[str, str], structure: int | None, notes: Notes) -> tuple[float | None, float | None]:
    """Azimuth and horizontal field of view, in degrees, as far as the tags know them."""
    readings = {}
    for key in ("camera:direction", "direction", "surveillance:direction"):
        if key in tags:
            read = direction(tags[key])
            if read is None:
                notes.unknown_value(LAYER, key, tags[key])
            else:
                readings[key] = read
    if not readings:
        return None, None
    first = next(iter(readings.values()))
    if any(other != first for other in readings.values()):
        notes.remark(LAYER, "direction tags contradict each other; camera:direction counts")
    if first.width_deg is None:
        return first.azimuth_deg, None
    if structure not in _STEADY:
        # By the key's definition a range is what a camera may turn through. Only one that cannot turn sees all of it at a time.
        notes.remark(LAYER, "a range of directions of a camera that may turn; azimuth left unknown")
        return None, None
    return first.azimuth_deg, max(1.0, first.width_deg)


def _coded(
    tags: dict[str, str], key: str, codes: dict[str, Any], notes: Notes, *, silent: frozenset[str] = frozenset()
) -> Any:
    value = tags.get(key, "").strip().lower()
    if not value or value in silent:
        return None
    if value not in codes:
        notes.unknown_value(LAYER, key, tags[key])
    return codes.get(value)


def camera_row(tags: dict[str, str], notes: Notes) -> dict[str, Any] | None:
    """Fields of ``camera_site`` from tags; None for what is not a camera.

    Guards, gunshot detectors and readers of number plates (ALPR, ANPR) are not taken: the platform keeps places that are watched,
    not what recognises. Without a direction ``azimuth_deg`` stays None: such a camera may look anywhere. A range of directions becomes azimuth
    and field of view of a camera that is known not to turn.

    Examples
    --------
    >>> row = camera_row({"man_made": "surveillance", "camera:type": "fixed", "direction": "120-160", "camera:mount": "pole"}, Notes())
    >>> row["azimuth_deg"], row["hfov_deg"], row["ptz_type"], row["mount_kind"]
    (140.0, 40.0, 3, 'pole')
    """
    if tags.get("man_made") != "surveillance":
        return None
    kind = tags.get("surveillance:type", "camera").strip().lower()
    if kind != "camera":
        notes.skip(LAYER, f"surveillance:type={kind[:40]}")
        return None
    structure = _coded(tags, "camera:type", _STRUCTURE, notes)
    azimuth_deg, hfov_deg = _looks(tags, structure, notes)
    room = _coded(tags, "surveillance", _ROOM, notes, silent=_SAYS_NOTHING)
    if room is None and tags.get("indoor") == "yes":
        room = 2
    tilt_deg = tilt_below_horizon_deg(tags)
    for key in ("camera:tilt", "camera:angle"):
        if key in tags and tilt_deg is None:
            notes.unknown_value(LAYER, key, tags[key])
    height_m = None
    for key in ("camera:height", "height"):
        if key in tags and height_m is None:
            height_m = length_m(tags[key])
            if height_m is None or not -10 <= height_m <= 500:
                notes.unknown_value(LAYER, key, tags[key])
                height_m = None
    owner, left_out = organisation(tags)
    if left_out:
        notes.personal["operator"] += 1
    return {
        "azimuth_deg": azimuth_deg,
        "hfov_deg": hfov_deg,
        "tilt_deg": tilt_deg,
        "mount_height_m": height_m,
        "mount_kind": _coded(tags, "camera:mount", _MOUNT, notes),
        "ptz_type": structure,
        "room_type": room,
        "watch_zone": (tags.get("surveillance:zone") or "")[:60] or None,
        "owner_org": owner,
    }

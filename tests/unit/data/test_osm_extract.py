"""Small extracts written for the test: what becomes of each object, and what is said about what is missing."""

from collections import Counter
from pathlib import Path

import pytest
import shapely

from data.osm.cameras import camera_row
from data.osm.frames import SOURCE_ORG, layer_frames
from data.osm.notes import Notes
from data.osm.privacy import is_personal, organisation
from data.osm.reader import Extract, read_extract
from data.osm.schools import school_kind
from gis.errors import UnreadableFile
from gis.settings import CityConfig

Tags = dict[str, str]


class Drawing:
    """An extract in the making, on a grid of nodes 0.001° apart around 111.29, 30.69."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._next = 0

    @staticmethod
    def _tags(tags: Tags) -> str:
        return "".join(f'<tag k="{k}" v="{v}"/>' for k, v in tags.items())

    def node(self, x: float, y: float, tags: Tags | None = None) -> int:
        self._next += 1
        lon, lat = 111.29 + x / 1000, 30.69 + y / 1000
        self._parts.append(
            f'<node id="{self._next}" lon="{lon:.7f}" lat="{lat:.7f}" version="1">{self._tags(tags or {})}</node>'
        )
        return self._next

    def way(self, refs: list[int], tags: Tags | None = None) -> int:
        self._next += 1
        nodes = "".join(f'<nd ref="{ref}"/>' for ref in refs)
        self._parts.append(f'<way id="{self._next}" version="1">{nodes}{self._tags(tags or {})}</way>')
        return self._next

    def square(
        self, x: float, y: float, side: float, tags: Tags | None = None, corners: list[Tags] | None = None
    ) -> int:
        places = [(x, y), (x + side, y), (x + side, y + side), (x, y + side)]
        refs = [self.node(px, py, (corners or [{}] * 4)[i]) for i, (px, py) in enumerate(places)]
        return self.way([*refs, refs[0]], tags)

    def relation(self, members: list[tuple[int, str]], tags: Tags) -> int:
        self._next += 1
        listed = "".join(f'<member type="way" ref="{ref}" role="{role}"/>' for ref, role in members)
        self._parts.append(f'<relation id="{self._next}" version="1">{listed}{self._tags(tags)}</relation>')
        return self._next

    def write(self, folder: Path) -> Path:
        order = {"<node": 0, "<way ": 1, "<rela": 2}
        body = "".join(sorted(self._parts, key=lambda part: order[part[:5]]))
        path = folder / "drawing.osm"
        path.write_text(f'<?xml version="1.0"?><osm version="0.6" generator="test">{body}</osm>', encoding="utf-8")
        return path


@pytest.fixture
def drawing() -> Drawing:
    return Drawing()


def _read(drawing: Drawing, folder: Path) -> tuple[Extract, Notes]:
    notes = Notes()
    return read_extract(drawing.write(folder), notes), notes


def test_buildings_with_heights_and_holes(drawing: Drawing, tmp_path: Path, city: CityConfig) -> None:
    plain = drawing.square(0, 0, 1, {"building": "house", "height": "30 ft"})
    outer, inner = drawing.square(5, 0, 4), drawing.square(6, 1, 1)
    court = drawing.relation(
        [(outer, "outer"), (inner, "inner")], {"type": "multipolygon", "building": "yes", "building:levels": "6"}
    )
    drawing.square(12, 0, 1, {"building": "yes"})
    extract, notes = _read(drawing, tmp_path)
    frame = layer_frames(extract, city, notes)["building"].set_index("source_ref")
    assert set(frame.index) == {f"osm:way/{plain}", f"osm:relation/{court}", frame.index[frame.height_m.isna()][0]}
    assert frame.loc[f"osm:way/{plain}", "height_m"] == pytest.approx(9.144)
    assert not frame.loc[f"osm:way/{plain}", "height_assumed"]
    whole = frame.loc[f"osm:relation/{court}"]
    assert whole.height_m == 18.0 and whole.height_assumed and whole.levels == 6
    assert whole.geometry.area == pytest.approx((16 - 1) * 1e-6)
    assert frame.height_assumed[frame.height_m.isna()].all()
    assert set(frame.source_org) == {SOURCE_ORG}


def test_roads_by_class(drawing: Drawing, tmp_path: Path, city: CityConfig) -> None:
    a, b, c = drawing.node(0, 0), drawing.node(1, 0), drawing.node(2, 1)
    tags = {
        "highway": "trunk_link",
        "bridge": "yes",
        "layer": "1",
        "maxspeed": "30 mph",
        "lanes": "2",
        "width": "7.5 m",
        "name": "夷陵大道",
    }
    drawing.way([a, b], tags)
    drawing.way([b, c], {"highway": "steps", "tunnel": "yes", "lanes": "many"})
    drawing.way([a, c], {"highway": "proposed"})
    drawing.way([a, c], {"highway": "hoverway"})
    extract, notes = _read(drawing, tmp_path)
    frame = layer_frames(extract, city, notes)["road"]
    assert list(frame.road_class) == ["trunk", "path", "other"]
    first = frame.iloc[0]
    assert (first.bridge, first.tunnel, first.osm_layer, first.speed_limit_kmh, first.lane_count, first.width_m, first.name_zh) == (
        True, False, 1, 48, 2, 7.5, "夷陵大道",
    )  # fmt: skip
    assert notes.unknown == {("road", "lanes", "many"): 1, ("road", "highway", "hoverway"): 1}
    assert notes.skipped == {("road", "highway=proposed"): 1}


def test_school_boundary_and_gates(drawing: Drawing, tmp_path: Path, city: CityConfig) -> None:
    gates = [{"barrier": "gate"}, {}, {"entrance": "main"}, {"entrance": "no"}]
    drawing.square(0, 0, 3, {"amenity": "school", "name": "宜昌市第十六中学"}, gates)
    drawing.node(1, 1, {"barrier": "gate"})
    drawing.node(9, 9, {"amenity": "kindergarten"})
    drawing.node(8, 9, {"amenity": "school"})
    extract, notes = _read(drawing, tmp_path)
    frame = layer_frames(extract, city, notes)["school"].set_index("school_kind")
    school = frame.loc["secondary"]
    assert sorted((round(p.x, 3), round(p.y, 3)) for p in school.entrances.geoms) == [
        (111.29, 30.69),
        (111.293, 30.693),
    ]
    assert school.boundary.contains(school.geometry)
    assert frame.loc["kindergarten"].boundary is None
    assert frame.index.isna().sum() == 1
    assert notes.remarks["school", "school without a level; kind left unknown"] == 1


def test_missing_nodes_and_members_are_counted(drawing: Drawing, tmp_path: Path, city: CityConfig) -> None:
    nodes = [drawing.node(x, 0) for x in range(4)]
    drawing.way([*nodes[:3], 900001, nodes[3]], {"highway": "residential"})
    drawing.way([nodes[0], 900002, 900003, nodes[0]], {"building": "yes"})
    drawing.way([900004, nodes[1], 900005], {"highway": "residential"})
    half = drawing.way(nodes[:2])
    drawing.relation([(half, "outer"), (900006, "outer")], {"type": "multipolygon", "building": "yes"})
    extract, notes = _read(drawing, tmp_path)
    frames = layer_frames(extract, city, notes)
    assert "building" not in frames
    assert len(frames["road"]) == 1 and len(frames["road"].geometry.iloc[0].coords) == 3
    assert extract.missing_nodes == 5
    assert (extract.lines_cut, extract.areas_cut, extract.relations_incomplete) == (1, 1, 1)
    assert notes.skipped["*", "way without a drawable part"] == 1


def test_area_keeps_what_touches_it(drawing: Drawing, tmp_path: Path) -> None:
    a, b, c = drawing.node(0, 0), drawing.node(10, 0), drawing.node(20, 0)
    drawing.way([a, b], {"highway": "service"})
    drawing.way([b, c], {"highway": "track"})
    drawing.node(0.5, 0.5, {"man_made": "surveillance"})
    notes = Notes()
    extract = read_extract(drawing.write(tmp_path), notes, area=(111.289, 30.689, 111.292, 30.692))
    assert [thing.tags["highway"] for thing in extract.lines] == ["service"]
    assert len(extract.points) == 1
    assert notes.skipped == {("*", "outside the area"): 1}


def test_personal_tags_never_leave_the_reader(drawing: Drawing, tmp_path: Path) -> None:
    tags = {
        "amenity": "school",
        "phone": "+86 717 123",
        "contact:email": "a@b.cn",
        "operator:phone": "1",
        "note": "ask Mr Li",
        "name": "小学",
    }
    drawing.square(0, 0, 1, tags)
    extract, notes = _read(drawing, tmp_path)
    assert {key for thing in (*extract.points, *extract.lines, *extract.areas) for key in thing.tags} == {
        "amenity",
        "name",
    }
    assert notes.personal == Counter({"phone": 1, "contact:email": 1, "operator:phone": 1, "note": 1})
    assert not is_personal("operator:type")


def test_operators_that_may_be_persons_are_left_out() -> None:
    assert organisation({"operator": "Préfecture de Police"}) == ("Préfecture de Police", False)
    assert organisation({"operator": "X", "operator:wikidata": "Q1"}) == ("X", False)
    assert organisation({"operator": "Hans Muster GmbH", "operator:type": "private"}) == (None, True)
    assert organisation({"operator": "王小明"}) == (None, True)
    assert organisation({}) == (None, False)


def test_camera_tags() -> None:
    notes = Notes()
    row = camera_row(
        {
            "man_made": "surveillance", "surveillance:type": "camera", "camera:type": "fixed", "camera:mount": "street_lamp",
            "camera:direction": "NNE", "camera:angle": "20", "height": "4 m", "surveillance": "public", "surveillance:zone": "traffic",
            "operator": "宜昌市公安局",
        },
        notes,
    )  # fmt: skip
    assert row == {
        "azimuth_deg": 22.5, "hfov_deg": None, "tilt_deg": 20.0, "mount_height_m": 4.0, "mount_kind": "pole", "ptz_type": 3,
        "room_type": 1, "watch_zone": "traffic", "owner_org": "宜昌市公安局",
    }  # fmt: skip
    assert not notes.unknown


def test_a_range_counts_as_a_view_only_of_a_camera_that_cannot_turn() -> None:
    notes = Notes()
    base = {"man_made": "surveillance", "direction": "120-160"}
    unknown = camera_row(base, notes)
    assert unknown is not None and (unknown["azimuth_deg"], unknown["hfov_deg"]) == (None, None)
    dome = camera_row({**base, "camera:type": "dome"}, notes)
    fixed = camera_row({**base, "camera:type": "fixed"}, notes)
    assert dome is not None and (dome["azimuth_deg"], dome["hfov_deg"], dome["ptz_type"]) == (None, None, 1)
    assert fixed is not None and (fixed["azimuth_deg"], fixed["hfov_deg"], fixed["ptz_type"]) == (140.0, 40.0, 3)
    assert sum(notes.remarks.values()) == 2


def test_what_is_no_camera_and_what_is_not_understood() -> None:
    notes = Notes()
    for kind in ("ALPR", "guard", "gunshot_detector"):
        assert camera_row({"man_made": "surveillance", "surveillance:type": kind}, notes) is None
    assert sum(notes.skipped.values()) == 3
    row = camera_row(
        {
            "man_made": "surveillance",
            "direction": "forward",
            "camera:mount": "drone",
            "height": "low",
            "surveillance": "yes",
        },
        notes,
    )
    assert row is not None and set(row.values()) == {None}
    assert set(notes.unknown) == {
        ("camera_site", "direction", "forward"),
        ("camera_site", "camera:mount", "drone"),
        ("camera_site", "height", "low"),
    }
    clash = camera_row({"man_made": "surveillance", "camera:direction": "90", "direction": "270"}, notes)
    assert clash is not None and clash["azimuth_deg"] == 90.0
    assert any("contradict" in remark for _, remark in notes.remarks)


@pytest.mark.parametrize(
    ("tags", "kind"),
    [
        ({"amenity": "school", "name": "宜昌市西陵区学院街小学"}, "primary"),
        ({"amenity": "school", "name": "三峡大学附属中学"}, "secondary"),
        ({"amenity": "school", "isced:level": "0;1;2"}, "primary"),
        ({"amenity": "school", "school": "special_education_needs"}, "special"),
        ({"amenity": "university", "name": "x小学"}, "college"),
        ({"amenity": "school", "name": "École du Parc", "school:MC": "maternelle"}, "kindergarten"),
        ({"amenity": "school", "name": "Lycée Technique"}, "secondary"),
        ({"amenity": "school", "name": "Casa Mia"}, None),
    ],
)
def test_school_kinds(tags: Tags, kind: str | None) -> None:
    assert school_kind(tags) == kind


def test_other_places(drawing: Drawing, tmp_path: Path, city: CityConfig) -> None:
    drawing.square(0, 0, 1, {"landuse": "industrial", "industrial": "chemical", "name": "化工厂"})
    drawing.square(2, 0, 1, {"landuse": "industrial"})
    drawing.square(4, 0, 1, {"natural": "water", "water": "lake"})
    drawing.square(6, 0, 1, {"man_made": "wastewater_plant"})
    drawing.square(
        8, 0, 1, {"landuse": "military", "landuse:military": "x", "industrial": "chemical", "military": "base"}
    )
    drawing.square(10, 0, 1, {"boundary": "administrative", "admin_level": "6", "name": "西陵区", "ref": "420502"})
    drawing.way([drawing.node(0, 5), drawing.node(1, 5)], {"man_made": "pier"})
    drawing.way([drawing.node(0, 6), drawing.node(1, 6)], {"railway": "rail", "maxspeed": "250"})
    drawing.way([drawing.node(0, 7), drawing.node(1, 7)], {"railway": "abandoned"})
    drawing.node(3, 3, {"amenity": "doctors", "name": "Dr. Li Wei"})
    extract, notes = _read(drawing, tmp_path)
    frames = layer_frames(extract, city, notes)
    assert Counter(frames["key_area"].kind) == {"chem_site": 1, "industrial": 1, "wharf": 1}
    assert list(frames["water"].water_kind) == ["lake"]
    assert shapely.get_dimensions(frames["pollution_source"].geometry.iloc[0]) == 0
    assert list(frames["admin_area"][["level", "admin_code"]].iloc[0]) == ["county", "420502000000"]
    assert list(frames["railway"].rail_class) == ["high_speed"]
    assert frames["medical_site"].name_zh.isna().all()


def test_unreadable_files(drawing: Drawing, tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="cannot be opened"):
        read_extract(tmp_path / "none.osm.pbf", Notes())
    empty = tmp_path / "empty.osm.pbf"
    empty.touch()
    with pytest.raises(UnreadableFile, match="empty"):
        read_extract(empty, Notes())
    rubbish = tmp_path / "rubbish.osm.pbf"
    rubbish.write_bytes(b"no map at all" * 999)
    with pytest.raises(UnreadableFile, match="not OpenStreetMap data"):
        read_extract(rubbish, Notes())
    for x in range(3000):
        drawing.node(x, 0, {"highway": "street_lamp"})
    whole = drawing.write(tmp_path)
    cut = tmp_path / "cut.osm"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(UnreadableFile, match=r"could be read before the fault|damaged from its start"):
        read_extract(cut, Notes())

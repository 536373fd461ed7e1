"""Input that a guided search found (`make fuzz-guided`), kept: each is refused with an error of ours, or taken, as the seeds are."""

import contextlib
import struct
from pathlib import Path

import pyarrow as pa
import pytest
import shapely

from gis.errors import BaigeError
from layers.loading.places import Shapes, read_wkb
from tests.unit.layers.doors import DOORS, SEEDS

FOUND = Path(__file__).parent / "found"


@pytest.mark.parametrize("door", DOORS)
def test_what_was_found(door: str) -> None:
    for path in sorted((FOUND / door).glob("*")):
        with contextlib.suppress(BaigeError):
            DOORS[door](path.read_bytes())


@pytest.mark.parametrize("door", DOORS)
def test_the_seeds_reach_the_inside(door: str) -> None:
    taken = 0
    for data in SEEDS[door]:
        try:
            DOORS[door](data)
            taken += 1
        except BaigeError:
            pass
    assert taken


def test_what_was_found_belongs_to_a_door() -> None:
    assert {path.name for path in FOUND.iterdir() if path.is_dir()} <= set(DOORS)


def test_a_curve_among_others_is_one_row_that_cannot_be_read() -> None:
    """Found by the search: one curve (GEOS knows none) ended the reading of a whole file."""
    curve = struct.pack("<BIIdddddd", 1, 8, 3, 0, 0, 1, 1, 2, 0)
    places = read_wkb(pa.array([shapely.to_wkb(shapely.Point(1, 2)), curve, None, b"x", shapely.to_wkb(shapely.LineString([(0, 0), (1, 1)]))]))
    assert isinstance(places, Shapes)
    assert places.bad["bad_geometry"].tolist() == [False, True, False, True, False]
    assert [shape is not None for shape in places.shapes] == [True, False, False, False, True]

"""Debian's QGIS, without a screen: it reads every collection in pages of 1000, identifies a feature, and draws tiles and features."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import numpy as np
import sqlalchemy as sa
from PIL import Image

HERE = Path(__file__).resolve().parent
PICTURE = HERE.parent.parent / "scripts" / "qgis_picture.py"
PYTHON = "/usr/bin/python3"


def qgis(tmp_path: Path, script: Path, *words: str) -> str:
    """What a script that QGIS's Python runs prints."""
    home = str(tmp_path)
    environment = {"PATH": os.environ["PATH"], "HOME": home, "XDG_RUNTIME_DIR": home, "QT_QPA_PLATFORM": "offscreen", "LC_ALL": "C.UTF-8"}
    ran = subprocess.run([PYTHON, str(script), *words], env=environment, capture_output=True, text=True, timeout=800, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return ran.stdout


def asked(tmp_path: Path, *words: str) -> Any:
    return json.loads(qgis(tmp_path, HERE / "qgis_program.py", *words).splitlines()[-1])


def test_every_collection_is_read_to_the_last_row(town: Any, tmp_path: Path) -> None:
    described = {c["id"]: c for c in httpx.get(f"{town.url}/collections", timeout=60).json()["collections"]}
    assert set(described) == set(town.counts)
    found = asked(tmp_path, "read", town.url, *described)
    pages = [urlsplit(path) for path in town.recorder.requests()]
    for name, layer in found.items():
        rows = town.counts[name]
        assert (layer["counted"], layer["rows"], layer["distinct"]) == (rows, rows, rows), name
        schema = httpx.get(f"{town.url}/collections/{name}/schema", timeout=60).json()
        assert layer["spatial"] == any(p.get("x-ogc-role") == "primary-geometry" for p in schema["properties"].values()), name
        if not layer["spatial"]:
            continue
        assert layer["crs"] == "EPSG:4326"
        box = described[name]["extent"]["spatial"]["bbox"][0]
        assert np.allclose(layer["box"], box, atol=2e-5), name
        if rows > 1000:  # the page size of the API document, and as many pages as are needed
            limits = [parse_qs(p.query)["limit"] for p in pages if p.path == f"/collections/{name}/items"]
            assert limits.count(["1000"]) == -(-rows // 1000), name


def test_a_click_identifies_the_feature_under_it(town: Any, tmp_path: Path) -> None:
    for name in ("outfall", "building"):
        with town.database.begin() as connection:
            row = connection.execute(sa.text(
                f"SELECT id::text, ST_X(p), ST_Y(p) FROM (SELECT id, ST_PointOnSurface(geom) AS p FROM baige.{name} ORDER BY id LIMIT 1) AS t"
            )).one()  # fmt: skip
            near = connection.execute(
                sa.text(f"SELECT id::text FROM baige.{name} WHERE ST_DWithin(geom, ST_SetSRID(ST_MakePoint(:x, :y), 4490), 0.0002)"),
                {"x": row[1], "y": row[2]},
            ).scalars()
            others = set(near)
        found = asked(tmp_path, "identify", town.url, name, str(row[1]), str(row[2]))
        assert row[0] in found
        assert set(found) <= others


def test_tiles_and_features_are_drawn(town: Any, tmp_path: Path) -> None:
    out = tmp_path / "map.png"
    # tiles alone, then with features over them
    qgis(tmp_path, PICTURE, town.url, str(out), "none", "water,building,road")
    tiles = np.asarray(Image.open(out).convert("RGB")).reshape(-1, 3)
    water = np.abs(tiles.astype(int) - (0xAE, 0xCB, 0xE0)).max(axis=1) <= 3
    assert 0.1 < water.mean() < 0.6, "the river of the picture"
    assert len(np.unique(tiles, axis=0)) > 50
    qgis(tmp_path, PICTURE, town.url, str(out))
    whole = np.asarray(Image.open(out).convert("RGB")).reshape(-1, 3)
    assert (whole != tiles).any(axis=1).mean() > 0.02
    assert (whole == 255).all(axis=1).mean() < 0.2, "land use and water leave no ground empty"

"""The project of ``baige qgis`` in Debian's QGIS: opens without a question, every layer is good, and its layout prints as a map."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from layers.catalogue import built_in
from maps.style import style_classes
from tests.clients.test_qgis import qgis

PRINT = Path(__file__).resolve().parent / "qgis_print.py"


def test_project_opens_and_prints(town: Any, tmp_path: Path) -> None:
    project, out = tmp_path / "baige.qgz", tmp_path / "print.png"
    words = [sys.executable, "-m", "api.cli", "qgis", "--out", str(project), "--server", town.url, "--titles", "zh"]
    made = subprocess.run(words, env=town.environment, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    found = json.loads(qgis(tmp_path, PRINT, str(project), str(out)).splitlines()[-1])
    assert found["read"] and found["unread"] == [] and found["invalid"] == []
    assert found["layers"] == len(town.counts) + 5  # each collection, and five base layers from vector tiles
    assert found["crs"] == "EPSG:4546"
    assert {"分析结果", "江河岸线", "底图（矢量瓦片）"} <= set(found["groups"])
    assert found["alias"] == "一级分类" and found["widget"] == "ValueMap" and "工业排污口" in found["values"]
    assert found["classes"] == {look.title_zh: look.color for look in style_classes(built_in()["outfall"])}
    assert {"QgsLayoutItemMap", "QgsLayoutItemLegend", "QgsLayoutItemScaleBar", "QgsLayoutItemPicture", "QgsLayoutItemLabel"} <= set(found["items"])
    assert found["printed"]
    pixels = np.asarray(Image.open(out).convert("RGB")).reshape(-1, 3).astype(int)
    water = np.abs(pixels - (0xA9, 0xC3, 0xDB)).max(axis=1) <= 12  # of the tiles
    red = np.abs(pixels - (0xD5, 0x5E, 0x00)).max(axis=1) <= 40  # industrial outfalls
    assert water.mean() > 0.02 and red.sum() > 20

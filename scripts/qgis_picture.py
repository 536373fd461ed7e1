"""Draw layers of the served reference city in QGIS, without a screen: ``/usr/bin/python3 scripts/qgis_picture.py [URL] [OUT.png] [FEATURES TILES]``.

For the Python that Debian's ``python3-qgis`` is made for (``scripts/setup.sh clients`` installs it). Layers named in ``TILES`` are drawn as vector
tiles with the MapLibre style that the server offers, those in ``FEATURES`` through QGIS's OGC API – Features provider with the server's SLD;
what QGIS cannot read or style ends the script.
"""

import os
import sys
import tempfile
import urllib.request
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from qgis.core import (
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsDataSourceUri,
    QgsMapLayer,
    QgsMapRendererSequentialJob,
    QgsMapSettings,
    QgsProject,
    QgsRectangle,
    QgsVectorLayer,
    QgsVectorTileLayer,
)
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor, QFont, QImage, QPainter

#: From bottom to top.
TILES = ("land_use", "water", "building", "road", "admin_area")
FEATURES = ("school", "outfall", "camera_site")
#: The part of the reference city that the picture shows: west, south, east, north in degrees.
BOX = (111.272, 30.678, 111.312, 30.708)


def feature_layer(url: str, name: str) -> QgsVectorLayer:
    """A collection through QGIS's OAPIF provider, drawn by the server's SLD.

    Raises
    ------
    SystemExit
        QGIS cannot read the collection or its style.
    """
    source = QgsDataSourceUri()
    for key, value in {"url": url, "typename": name, "pagingEnabled": "true"}.items():
        source.setParam(key, value)
    layer = QgsVectorLayer(source.uri(False), name, "OAPIF")
    if not layer.isValid():
        sys.exit(f"QGIS cannot read {name}: {layer.error().message()}")
    if layer.isSpatial():
        with tempfile.NamedTemporaryFile(suffix=".sld") as file:
            file.write(urllib.request.urlopen(f"{url}/collections/{name}/styles/default?f=sld").read())
            file.flush()
            message, good = layer.loadSldStyle(file.name)
        if not good:
            sys.exit(f"QGIS cannot use the SLD of {name}: {message}")
    return layer


def tile_layer(url: str, name: str) -> QgsVectorTileLayer:
    """A collection's vector tiles, drawn by the server's MapLibre style.

    Raises
    ------
    SystemExit
        QGIS cannot read the tiles or their style.
    """
    address = f"{url}/collections/{name}/tiles/WebMercatorQuad/{{z}}/{{y}}/{{x}}"
    style = f"{url}/collections/{name}/styles/default?f=maplibre"
    layer = QgsVectorTileLayer(f"type=xyz&url={address}&zmin=0&zmax=18&styleUrl={style}", name)
    if not layer.isValid():
        sys.exit(f"QGIS cannot read the tiles of {name}")
    message, good = layer.loadDefaultStyle()
    if not good:
        sys.exit(f"QGIS cannot use the style of {name}: {message}")
    return layer


def draw(layers: list[QgsMapLayer], box: tuple[float, float, float, float], out: str, *, width: int = 1280, height: int = 820) -> QImage:
    """A picture of ``layers`` (the first lies at the bottom) in Web Mercator, as wide as ``box`` needs."""
    settings = QgsMapSettings()
    target = QgsCoordinateReferenceSystem("EPSG:3857")
    settings.setDestinationCrs(target)
    settings.setLayers(list(reversed(layers)))
    settings.setOutputSize(QSize(width, height))
    settings.setBackgroundColor(QColor("white"))
    to_map = QgsCoordinateTransform(QgsCoordinateReferenceSystem("OGC:CRS84"), target, QgsProject.instance())
    settings.setExtent(to_map.transformBoundingBox(QgsRectangle(*box)))
    job = QgsMapRendererSequentialJob(settings)
    job.start()
    job.waitForFinished()
    picture = job.renderedImage()
    painter = QPainter(picture)
    painter.setFont(QFont("Noto Sans CJK SC", 12))
    painter.fillRect(width - 250, height - 30, 250, 30, QColor(255, 255, 255, 215))
    painter.drawText(width - 238, height - 9, "合成数据 · synthetic data")
    painter.end()
    picture.save(out)
    for fault in job.errors():
        sys.exit(f"QGIS could not draw {fault.layerID}: {fault.message}")
    return picture


def main() -> None:
    """Write the picture."""
    words = [*sys.argv[1:], "", "", "", ""]
    url = words[0] or "http://127.0.0.1:8080"
    out = words[1] or str(Path(__file__).resolve().parent.parent / "docs" / "pictures" / "qgis.png")
    features = FEATURES if not words[2] else [n for n in words[2].split(",") if n != "none"]
    tiles = TILES if not words[3] else [n for n in words[3].split(",") if n != "none"]
    application = QgsApplication([], False)
    application.initQgis()
    draw([*(tile_layer(url, n) for n in tiles), *(feature_layer(url, n) for n in features)], BOX, out)
    QgsProject.instance().clear()
    application.exitQgis()


if __name__ == "__main__":
    main()

"""What the tests let QGIS do: ``/usr/bin/python3 qgis_program.py read|identify URL [COLLECTION …]``; the answer is JSON on standard output.

For the Python that Debian's ``python3-qgis`` is made for.
"""

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "scripts"))

from qgis.core import QgsApplication, QgsGeometry, QgsPointXY, QgsProject, QgsVectorLayer, QgsWkbTypes
from qgis.gui import QgsMapCanvas, QgsMapToolIdentify
from qgis_picture import feature_layer


def read(url: str, names: list[str]) -> dict[str, Any]:
    """What QGIS makes of each collection, and how many rows it gets."""
    found = {}
    for name in names:
        layer = feature_layer(url, name)
        ids, kinds, box = [], set(), None
        for feature in layer.getFeatures():
            ids.append(feature["id"])
            geometry = feature.geometry()
            if layer.isSpatial():
                kinds.add(QgsWkbTypes.displayString(geometry.wkbType()))
                here = geometry.boundingBox()
                box = here if box is None else box
                box.combineExtentWith(here)
        found[name] = {
            "spatial": layer.isSpatial(), "crs": layer.crs().authid(), "counted": layer.featureCount(), "rows": len(ids), "distinct": len(set(ids)),
            "kinds": sorted(kinds),
            "box": None if box is None else [box.xMinimum(), box.yMinimum(), box.xMaximum(), box.yMaximum()],
        }  # fmt: skip
    return found


def identify(url: str, name: str, x: float, y: float) -> list[str]:
    """Ids of what QGIS's identify tool finds under a click at a place."""
    layer: QgsVectorLayer = feature_layer(url, name)
    QgsProject.instance().addMapLayer(layer)
    canvas = QgsMapCanvas()
    canvas.resize(600, 400)
    canvas.setDestinationCrs(layer.crs())
    canvas.setLayers([layer])
    canvas.setExtent(QgsGeometry.fromPointXY(QgsPointXY(x, y)).buffer(0.002, 8).boundingBox())
    canvas.show()
    canvas.refresh()
    canvas.waitWhileRendering()
    at = canvas.getCoordinateTransform().transform(x, y)
    tool = QgsMapToolIdentify(canvas)
    results = tool.identify(int(at.x()), int(at.y()), [layer], QgsMapToolIdentify.LayerSelection)
    return [r.mFeature["id"] for r in results]


def main() -> None:
    """Do what is asked."""
    what, url, *more = sys.argv[1:]
    application = QgsApplication([], True)
    application.initQgis()
    answer: Any = read(url, more) if what == "read" else identify(url, more[0], float(more[1]), float(more[2]))
    print(json.dumps(answer))
    QgsProject.instance().clear()
    application.exitQgis()


if __name__ == "__main__":
    main()

"""Open a QGIS project as a user would and print its layout: ``/usr/bin/python3 qgis_print.py PROJECT.qgz OUT.png``; the answer is JSON.

For the Python that Debian's ``python3-qgis`` is made for.
"""

import json
import os
import sys

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from qgis.core import QgsApplication, QgsLayoutExporter, QgsLayoutItem, QgsMapLayer, QgsProject, QgsVectorLayer


def main() -> None:
    """Open, look, print."""
    path, out = sys.argv[1:3]
    application = QgsApplication([], True)
    application.initQgis()
    project = QgsProject.instance()
    # what QGIS could not open it would ask the user about
    unread: list[str] = []
    project.layersAdded.connect(lambda added: unread.extend(layer.name() for layer in added if not layer.isValid()))
    good = project.read(path)
    layers: dict[str, QgsMapLayer] = project.mapLayers()
    layouts = project.layoutManager().printLayouts()
    outfall = layers["baige_outfall"]
    assert isinstance(outfall, QgsVectorLayer)
    fields = outfall.fields()
    where = fields.indexOf("cat1")
    answer = {
        "read": good, "unread": unread, "invalid": [layer.name() for layer in layers.values() if not layer.isValid()], "layers": len(layers),
        "crs": project.crs().authid(), "groups": [group.name() for group in project.layerTreeRoot().children()],
        "alias": outfall.attributeAlias(where), "widget": outfall.editorWidgetSetup(where).type(),
        "values": [next(iter(entry)) for entry in outfall.editorWidgetSetup(where).config().get("map", [])],
        "classes": {category.label(): category.symbol().color().name() for category in outfall.renderer().categories()},
        "layouts": [layout.name() for layout in layouts],
        "items": sorted({item.__class__.__name__ for item in layouts[0].items() if isinstance(item, QgsLayoutItem)}),
    }  # fmt: skip
    settings = QgsLayoutExporter.ImageExportSettings()
    settings.dpi = 72
    answer["printed"] = QgsLayoutExporter(layouts[0]).exportToImage(out, settings) == QgsLayoutExporter.Success
    print(json.dumps(answer))
    project.clear()
    application.exitQgis()


if __name__ == "__main__":
    main()

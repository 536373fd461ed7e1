"""A QGIS project over the OGC API: every collection as a layer with titles, value maps and styles, grouped by theme.

Written for QGIS 3.22 and newer. Layers are read from the server when the project is opened; nothing of the data is in the file.
"""

import io
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import shapely

from gis.crs import SourceCRS, transform_geometries, wkt_of
from gis.errors import InputError
from layers.declaration import LayerDeclaration
from maps.qgis_layout import add_layout
from maps.style import Family, families
from maps.style_qgis import add_fields, renderer_element, tile_renderer_element
from maps.themes import DRAWING_ORDER, by_theme, theme_title

__all__ = ["qgis_project", "write_qgis_project"]

_GEOMETRY: dict[Family, str] = {"fill": "Polygon", "line": "Line", "point": "Point"}
_PAGE = 1000
_TILES_GROUP = ("底图（矢量瓦片）", "Base map (vector tiles)")
#: Results and registers shown from the start.
_FIRST = ("outfall", "coverage_gap")
#: Base layers drawn from vector tiles: of these an area holds more features than anyone would page through.
_TILED = ("land_use", "water", "building", "road", "railway")
_CRS84 = (
    "<spatialrefsys><wkt>GEOGCRS[\"WGS 84\",DATUM[\"World Geodetic System 1984\",ELLIPSOID[\"WGS 84\",6378137,298.257223563]],"
    "CS[ellipsoidal,2],AXIS[\"latitude\",north],AXIS[\"longitude\",east],UNIT[\"degree\",0.0174532925199433],ID[\"EPSG\",4326]]</wkt>"
    "<proj4>+proj=longlat +datum=WGS84 +no_defs</proj4><srsid>3452</srsid><srid>4326</srid><authid>EPSG:4326</authid>"
    "<description>WGS 84</description><geographicflag>true</geographicflag></spatialrefsys>"
)


def _order(layer: LayerDeclaration) -> tuple[int, int]:
    """Points before lines before areas; base layers last, from the top down."""
    if layer.name in DRAWING_ORDER:
        return 9, -DRAWING_ORDER.index(layer.name)
    kinds = families(layer)
    return ("point", "line", "fill").index(kinds[-1]) if kinds else 8, 0


def _map_layer(parent: ET.Element, layer: LayerDeclaration, identifier: str, server: str, lang: str) -> None:
    kinds = families(layer)
    # OAPIF gives a layer one kind of geometry; where a collection holds several, QGIS takes that of its first feature.
    family = kinds[0] if kinds else None
    attributes = {"type": "vector", "geometry": _GEOMETRY[family] if family else "No geometry", "hasScaleBasedVisibilityFlag": "0"}
    if layer.style.min_zoom > 0:
        # Scale denominator of a Web Mercator zoom at 96 dpi.
        attributes |= {"hasScaleBasedVisibilityFlag": "1", "minScale": f"{591657550.5 / 2**layer.style.min_zoom:.0f}", "maxScale": "0"}
    made = ET.SubElement(parent, "maplayer", attributes)
    ET.SubElement(made, "id").text = identifier
    ET.SubElement(made, "datasource").text = (
        f" pagingEnabled='true' pageSize='{_PAGE}' restrictToRequestBBOX='1' typename='{layer.name}' url='{server}'"
    )
    ET.SubElement(made, "layername").text = layer.title(lang)
    ET.SubElement(made, "abstract").text = layer.description_zh if lang.startswith("zh") else layer.description_en
    ET.SubElement(made, "provider", encoding="UTF-8").text = "OAPIF"
    ET.SubElement(made, "srs").append(ET.fromstring(_CRS84))
    if family is not None:
        made.append(renderer_element(layer, family, lang=lang))
    add_fields(made, layer, lang=lang)
    ET.SubElement(made, "previewExpression").text = f'"{layer.label}"'


def _crs(parent: ET.Element, srid: int) -> None:
    """A reference system, written out and by its code. QGIS looks at the code only where an internal number stands beside it."""
    made = ET.SubElement(parent, "spatialrefsys")
    ET.SubElement(made, "wkt").text = wkt_of(srid)
    ET.SubElement(made, "srsid").text = "1"
    ET.SubElement(made, "authid").text = f"EPSG:{srid}"


def _tile_layer(parent: ET.Element, layer: LayerDeclaration, identifier: str, server: str, lang: str) -> None:
    made = ET.SubElement(parent, "maplayer", type="vector-tile", hasScaleBasedVisibilityFlag="0")
    ET.SubElement(made, "id").text = identifier
    # QGIS reads the parameters as those of an address: the template's own "?" and "&" would end them.
    template = f"{server}collections/{layer.name}/tiles/WebMercatorQuad/{{z}}/{{y}}/{{x}}"
    ET.SubElement(made, "datasource").text = f"type=xyz&url={template}&zmin=0&zmax=16"
    ET.SubElement(made, "layername").text = layer.title(lang)
    _crs(ET.SubElement(made, "srs"), 3857)
    ET.SubElement(made, "provider").text = "vectortile"
    made.append(tile_renderer_element(layer, lang=lang))


def qgis_project(
    layers: Iterable[LayerDeclaration] | Mapping[str, LayerDeclaration],
    *,
    server: str,
    title: str,
    bounds: tuple[float, float, float, float],
    srid: int = 4546,
    lang: str = "zh",
) -> str:
    """The project as XML (``.qgs``).

    Parameters
    ----------
    layers : iterable or mapping of LayerDeclaration
        Layers of the project, with and without places.
    server : str
        Address of the OGC API's landing page.
    bounds : tuple
        West, south, east, north in degrees of the first view.
    srid : int
        Projected system of the map and of the print layout.
    lang : str
        ``zh`` or ``en``: titles of layers, fields and values.

    Raises
    ------
    InputError
        The address is not http or https, or holds a quotation mark.
    """
    if not server.startswith(("http://", "https://")) or any(c in server for c in "'\" <>"):
        raise InputError("The server's address must begin with http:// or https://.", zh="服务器地址应以 http:// 或 https:// 开头。")
    server = server.rstrip("/") + "/"
    declared = sorted(layers.values() if isinstance(layers, Mapping) else layers, key=_order)
    root = ET.Element("qgis", projectname=title, version="3.22.0-Białowieża")
    ET.SubElement(root, "title").text = title
    _crs(ET.SubElement(root, "projectCrs"), srid)
    tree = ET.SubElement(root, "layer-tree-group")
    identifiers = {layer.name: f"baige_{layer.name}" for layer in declared}
    tiled = [layer for layer in declared if layer.name in _TILED]
    view = transform_geometries(np.array([shapely.box(*bounds)]), SourceCRS("4326"), srid)[0].bounds
    for theme, group in by_theme(declared).items():
        branch = ET.SubElement(tree, "layer-tree-group", name=theme_title(theme, lang), checked="Qt::Checked", expanded="0")
        for layer in group:
            is_ground = layer.name in DRAWING_ORDER and layer.style.visible
            shown = layer.has_geometry and layer.name not in _TILED and (is_ground or layer.name in _FIRST)
            ET.SubElement(
                branch, "layer-tree-layer", id=identifiers[layer.name], name=layer.title(lang), providerKey="OAPIF",
                checked="Qt::Checked" if shown else "Qt::Unchecked", expanded="0",
            )  # fmt: skip
    branch = ET.SubElement(tree, "layer-tree-group", name=_TILES_GROUP[0 if lang.startswith("zh") else 1], checked="Qt::Checked", expanded="0")
    for layer in tiled:
        attributes = {"id": f"tiles_{layer.name}", "name": layer.title(lang), "providerKey": "vectortile"}
        ET.SubElement(branch, "layer-tree-layer", attributes | {"checked": "Qt::Checked", "expanded": "0"})
    canvas = ET.SubElement(root, "mapcanvas", name="theMapCanvas")
    ET.SubElement(canvas, "units").text = "meters"
    extent = ET.SubElement(canvas, "extent")
    for name, value in zip(("xmin", "ymin", "xmax", "ymax"), view, strict=True):
        ET.SubElement(extent, name).text = repr(float(value))
    _crs(ET.SubElement(canvas, "destinationsrs"), srid)
    holder = ET.SubElement(root, "projectlayers")
    for layer in declared:
        _map_layer(holder, layer, identifiers[layer.name], server, lang)
    for layer in tiled:
        _tile_layer(holder, layer, f"tiles_{layer.name}", server, lang)
    order = ET.SubElement(root, "layerorder")
    for layer in declared:
        ET.SubElement(order, "layer", id=identifiers[layer.name])
    for layer in tiled:
        ET.SubElement(order, "layer", id=f"tiles_{layer.name}")
    # Without this property QGIS takes the project for one without a reference system.
    known = ET.SubElement(ET.SubElement(root, "properties"), "SpatialRefSys")
    ET.SubElement(known, "ProjectionsEnabled", type="int").text = "1"
    add_layout(root, extent=view, lang=lang, server=server)
    ET.indent(root)
    return "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n" + ET.tostring(root, encoding="unicode") + "\n"


def write_qgis_project(path: Path, project: str) -> None:
    """Write a project as ``.qgz`` (or ``.qgs`` where the name says so).

    Raises
    ------
    InputError
        The file cannot be written.
    """
    packed = io.BytesIO()
    if path.suffix.lower() == ".qgs":
        packed.write(project.encode())
    else:
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(zipfile.ZipInfo(f"{path.stem}.qgs", (2000, 1, 1, 0, 0, 0)), project, zipfile.ZIP_DEFLATED)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(packed.getvalue())
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}", zh=f"无法写入 {path}：{error.strerror}") from error

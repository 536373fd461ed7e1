"""The print layout of the QGIS project: A3 landscape with map, title, legend, scale bar, north arrow, date and a note on the data."""

from xml.etree import ElementTree as ET

__all__ = ["add_layout"]

#: Kinds of layout items in QGIS 3 (QgsLayoutItemRegistry).
_PAGE, _MAP, _PICTURE, _LABEL, _LEGEND, _SCALEBAR = "65638", "65639", "65640", "65641", "65642", "65646"
_MAP_ID = "{6b616967-6500-4000-8000-000000000001}"
_FONT = "Noto Sans CJK SC"
_W_MM, _H_MM = 420.0, 297.0
_MAP_BOX = (10.0, 24.0, 310.0, 246.0)


def _item(parent: ET.Element, kind: str, number: int, box: tuple[float, float, float, float], **more: str) -> ET.Element:
    x, y, width, height = box
    identifier = _MAP_ID if kind == _MAP else f"{{6b616967-6500-4000-8000-0000000001{number:02d}}}"
    attributes = {
        "type": kind, "uuid": identifier, "templateUuid": identifier, "zValue": str(number), "position": f"{x:g},{y:g},mm",
        "positionOnPage": f"{x:g},{y:g},mm", "size": f"{width:g},{height:g},mm", "referencePoint": "0", "visibility": "1", "opacity": "1",
        "frame": "false", "background": "false", "itemRotation": "0", "excludeFromExports": "0", "outlineWidthM": "0.3,mm",
    }  # fmt: skip
    return ET.SubElement(parent, "LayoutItem", attributes | more)


def _label(parent: ET.Element, number: int, box: tuple[float, float, float, float], text: str, *, size_pt: int, bold: bool = False) -> None:
    made = _item(parent, _LABEL, number, box, labelText=text, htmlState="0", halign="1", valign="128", marginX="0", marginY="0")
    ET.SubElement(made, "LabelFont", description=f"{_FONT},{size_pt},-1,5,{75 if bold else 50},0,0,0,0,0", style="")
    ET.SubElement(made, "FontColor", red="27", green="37", blue="48", alpha="255")


def _text_style(parent: ET.Element, size_pt: int) -> None:
    ET.SubElement(
        parent, "text-style", fontFamily=_FONT, fontSize=str(size_pt), fontSizeUnit="Point", textColor="27,37,48,255", fontWeight="50",
        textOpacity="1", multilineHeight="1",
    )  # fmt: skip


def add_layout(root: ET.Element, *, extent: tuple[float, float, float, float], lang: str, server: str) -> None:
    """Add the layout to a project.

    Parameters
    ----------
    extent : tuple of float
        West, south, east, north in the project's reference system (metres); widened to the shape of the map's frame.
    server : str
        Named in the note as the source.
    """
    zh = lang.startswith("zh")
    name = "A3 横向" if zh else "A3 landscape"
    layout = ET.SubElement(ET.SubElement(root, "Layouts"), "Layout", name=name, units="mm", printResolution="200", worldFileMap="")
    pages = ET.SubElement(layout, "PageCollection")
    _item(pages, _PAGE, 0, (0, 0, _W_MM, _H_MM))
    west, south, east, north = extent
    x, y = (west + east) / 2, (south + north) / 2
    shape = _MAP_BOX[2] / _MAP_BOX[3]
    width = max(east - west, (north - south) * shape, 100.0)
    made = _item(layout, _MAP, 1, _MAP_BOX, id="map", mapRotation="0", keepLayerSet="false", followPreset="false", drawCanvasItems="true")
    made.set("frame", "true")
    across, up = width / 2, width / shape / 2
    ET.SubElement(made, "Extent", xmin=f"{x - across:.3f}", xmax=f"{x + across:.3f}", ymin=f"{y - up:.3f}", ymax=f"{y + up:.3f}")
    _label(layout, 2, (10, 8, 310, 12), "[% @project_title %]", size_pt=20, bold=True)
    legend = _item(
        layout, _LEGEND, 3, (326, 24, 86, 200), title="图例" if zh else "Legend", map_uuid=_MAP_ID, legendFilterByMap="1", resizeToContents="1",
        symbolWidth="6", symbolHeight="3.5", boxSpace="1", columnCount="1", titleAlignment="1", symbolAlignment="1",
    )  # fmt: skip
    styles = ET.SubElement(legend, "styles")
    for part, size, above in (("title", 13, "0"), ("group", 11, "2"), ("subgroup", 9, "1.5"), ("symbol", 8, "1"), ("symbolLabel", 8, "1")):
        left = "2" if part == "symbolLabel" else "0"
        _text_style(ET.SubElement(styles, "style", name=part, alignment="1", marginTop=above, marginLeft=left, indent="0"), size)
    bar = _item(
        layout, _SCALEBAR, 4, (14, 254, 120, 13), mapUuid=_MAP_ID, style="Single Box", unitType="km", unitLabel="km", height="3",
        numMapUnitsPerScaleBarUnit="1", numUnitsPerSegment="1", numSegments="4", numSegmentsLeft="0", segmentSizeMode="1", minBarWidth="40",
        maxBarWidth="110", labelBarSpace="2", boxContentSpace="1",
    )  # fmt: skip
    _text_style(bar, 9)
    _item(
        layout, _PICTURE, 5, (300, 28, 16, 16), file=":/images/north_arrows/layout_default_north_arrow.svg", mode="2", northMode="0",
        northOffset="0", mapUuid=_MAP_ID, resizeMode="0", anchorPoint="0", svgFillColor="27,37,48,255", svgBorderColor="27,37,48,255",
    )  # fmt: skip
    date = "[% format_date(now(), 'yyyy-MM-dd') %]"
    note = (
        f"制图日期 {date} · 坐标系 [% @project_crs %] · 数据来源 {server} · "
        "图层可能含合成数据或内部资料，请以各图层“合成数据”“密级”字段为准；不得当作公开地图使用。"
        if zh
        else f"Drawn {date} · [% @project_crs %] · data from {server} · layers may hold synthetic or internal data: see the fields “Synthetic” and "
        "“Classification” of each; not a map for the public."
    )
    _label(layout, 6, (10, 274, 400, 16), note, size_pt=9)

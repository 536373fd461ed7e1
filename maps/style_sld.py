"""A layer's style as SLD 1.0.0 (OGC 02-070), which QGIS, GeoServer and others read."""

from xml.sax.saxutils import escape, quoteattr

from layers.declaration import LayerDeclaration
from maps.style import Family, StyleClass, families, style_classes

__all__ = ["sld_document"]


def _filter(layer: LayerDeclaration, look: StyleClass) -> str:
    if layer.style.by is None:
        return ""
    name = f"<ogc:PropertyName>{escape(layer.style.by)}</ogc:PropertyName>"
    if look.low is not None or look.high is not None:
        tests = []
        if look.low is not None:
            low = f"<ogc:Literal>{look.low:g}</ogc:Literal>"
            tests.append(f"<ogc:PropertyIsGreaterThanOrEqualTo>{name}{low}</ogc:PropertyIsGreaterThanOrEqualTo>")
        if look.high is not None:
            tests.append(f"<ogc:PropertyIsLessThan>{name}<ogc:Literal>{look.high:g}</ogc:Literal></ogc:PropertyIsLessThan>")
        inner = tests[0] if len(tests) == 1 else f"<ogc:And>{''.join(tests)}</ogc:And>"
    elif look.key == "":
        inner = f"<ogc:PropertyIsNull>{name}</ogc:PropertyIsNull>"
    else:
        inner = f"<ogc:PropertyIsEqualTo>{name}<ogc:Literal>{escape(look.key)}</ogc:Literal></ogc:PropertyIsEqualTo>"
    return f"<ogc:Filter>{inner}</ogc:Filter>"


def _parameter(name: str, value: object) -> str:
    return f'<CssParameter name="{name}">{value}</CssParameter>'


def _stroke(color: str, width: float, dash: tuple[float, ...]) -> str:
    dashed = _parameter("stroke-dasharray", " ".join(f"{d:g}" for d in dash)) if dash else ""
    return f"<Stroke>{_parameter('stroke', color)}{_parameter('stroke-width', f'{width:g}')}{dashed}</Stroke>"


def _symbolizer(layer: LayerDeclaration, look: StyleClass, family: Family) -> str:
    style = layer.style
    dash = style.dash or ((2.0, 4.0) if look.unknown else ())
    opacity = 0.08 if look.unknown else style.opacity
    fill = f"<Fill>{_parameter('fill', look.color)}{_parameter('fill-opacity', f'{opacity:g}')}</Fill>"
    if family == "line":
        return f"<LineSymbolizer>{_stroke(look.color, style.size, dash)}</LineSymbolizer>"
    if family == "point":
        edge = _stroke(look.color if look.unknown else style.outline, 1.0, ())
        mark = f"<Mark><WellKnownName>circle</WellKnownName>{fill}{edge}</Mark>"
        return f"<PointSymbolizer><Graphic>{mark}<Size>{style.size * 2:g}</Size></Graphic></PointSymbolizer>"
    edge = look.color if style.by or look.unknown else style.outline
    return f"<PolygonSymbolizer>{fill}{_stroke(edge, min(style.size, 2.0), dash)}</PolygonSymbolizer>"


def sld_document(layer: LayerDeclaration, *, lang: str = "zh") -> str:
    """The style of a layer as an SLD document, rule titles in ``lang``.

    Layers of several geometry kinds get the rules of each kind; a reader applies those that fit a feature.
    """
    kinds = families(layer)
    rules = []
    for family in kinds:
        for look in style_classes(layer):
            name = look.key or "unknown"
            rules.append(
                f"<Rule><Name>{escape(name)}</Name><Title>{escape(look.title(lang))}</Title>"
                f"{_filter(layer, look)}{_symbolizer(layer, look, family)}</Rule>"
            )
    namespaces = (
        'version="1.0.0" xmlns="http://www.opengis.net/sld" xmlns:ogc="http://www.opengis.net/ogc" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        f"xsi:schemaLocation={quoteattr('http://www.opengis.net/sld http://schemas.opengis.net/sld/1.0.0/StyledLayerDescriptor.xsd')}"
    )
    feature_style = f"<FeatureTypeStyle>{''.join(rules)}</FeatureTypeStyle>"
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<StyledLayerDescriptor {namespaces}><NamedLayer><Name>{layer.name}</Name>'
        f"<UserStyle><Title>{escape(layer.title(lang))}</Title>{feature_style}</UserStyle></NamedLayer></StyledLayerDescriptor>\n"
    )

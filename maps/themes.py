"""Themes under which layers are grouped, in the order in which people look for them."""

from collections.abc import Iterable

from layers.declaration import LayerDeclaration

__all__ = ["DRAWING_ORDER", "THEMES", "by_theme", "theme_title"]

#: Theme → titles in Chinese and English.
THEMES: dict[str, tuple[str, str]] = {
    "result": ("分析结果", "Results"),
    "video": ("视频监控", "Video"),
    "river": ("江河岸线", "River and banks"),
    "environment": ("生态环境", "Environment"),
    "school": ("校园周边", "Schools"),
    "safety": ("公共安全", "Safety"),
    "society": ("民生", "Public services"),
    "governance": ("网格与布局", "Grids and layout"),
    "admin": ("行政区划", "Administrative areas"),
    "base": ("底图", "Base map"),
    "other": ("其他", "Other"),
}

#: Base layers from the ground up.
DRAWING_ORDER = ("land_use", "water", "waterway", "admin_area", "community", "building", "road", "railway", "crossing", "place")


def theme_title(theme: str, lang: str) -> str:
    """Title of a theme in ``lang``; a theme that is not known is its own title."""
    zh, en = THEMES.get(theme, (theme, theme))
    return zh if lang.startswith("zh") else en


def by_theme(layers: Iterable[LayerDeclaration]) -> dict[str, list[LayerDeclaration]]:
    """Layers grouped by theme: themes in the order of `THEMES`, unknown ones after them, layers in the order given.

    Examples
    --------
    >>> from layers.catalogue import built_in
    >>> layers = built_in()
    >>> list(by_theme([layers["road"], layers["coverage_gap"]]))
    ['result', 'base']
    """
    groups: dict[str, list[LayerDeclaration]] = {}
    for layer in layers:
        groups.setdefault(layer.theme, []).append(layer)
    known = [theme for theme in THEMES if theme in groups]
    return {theme: groups[theme] for theme in [*known, *sorted(set(groups) - set(known))]}

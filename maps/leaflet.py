"""A folium map that needs no network: Leaflet from our own package data, layers packed into the page, nothing from elsewhere."""

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import folium
from branca.element import Element, Figure, MacroElement

from gis.errors import ConfigError, InputError
from maps.encoding import Packed
from maps.themes import THEMES

__all__ = ["PageText", "offline_map"]

_URL = re.compile(r"""url\(\s*['"]?(images/[\w.-]+)['"]?\s*\)""")


@dataclass(frozen=True, slots=True, kw_only=True)
class PageText:
    """What a page says about itself.

    Attributes
    ----------
    facts : sequence of (str, str)
        Short statements in Chinese and English under the title: run, date, city.
    notices : sequence of (str, str, str)
        Kind (``synthetic``, ``internal``, ``plain``) and the text in Chinese and English.
    languages : tuple of str
        ``("zh", "en")`` gives a switch; one language only shows that one.
    home : str
        Relative address of the gallery; empty for none.
    """

    title_zh: str
    title_en: str
    facts: Sequence[tuple[str, str]] = ()
    notices: Sequence[tuple[str, str, str]] = ()
    languages: tuple[str, ...] = ("zh", "en")
    home: str = ""


def _leaflet_folder() -> Path:
    try:
        from xstatic.pkg import leaflet
    except ImportError as error:
        raise ConfigError("The package XStatic-Leaflet is missing.", zh="缺少软件包 XStatic-Leaflet。") from error
    return Path(leaflet.BASE_DIR)


@lru_cache(maxsize=1)
def leaflet_assets() -> tuple[str, str]:
    """Script and style sheet of Leaflet, pictures inside the style sheet as data.

    Raises
    ------
    ConfigError
        The package that ships Leaflet is missing.
    """
    folder = _leaflet_folder()
    script = (folder / "leaflet.js").read_text(encoding="utf-8")
    script = re.sub(r"//# sourceMappingURL=.*", "", script)

    def inlined(match: re.Match[str]) -> str:
        picture = base64.b64encode((folder / match.group(1)).read_bytes()).decode()
        return f"url(data:image/png;base64,{picture})"

    style = _URL.sub(inlined, (folder / "leaflet.css").read_text(encoding="utf-8"))
    return script, style


@lru_cache(maxsize=1)
def page_assets() -> tuple[str, str]:
    """Our own script and style sheet."""
    own = resources.files("maps").joinpath("page")
    return own.joinpath("page.js").read_text(encoding="utf-8"), own.joinpath("page.css").read_text(encoding="utf-8")


def embedded_json(value: Any) -> str:
    """JSON that may stand inside ``<script>``: no ``<``, so that no text in the data can end it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


class _Verbatim(Element):
    """Text that stands in the page as it is.

    branca reads what elements give it as a template once more; a feature called ``{{ … }}`` would then be run as code.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self._name = "Verbatim"
        self.text = text

    def render(self, **_: Any) -> str:
        """The text."""
        return self.text


class _Layers(MacroElement):
    """The packed layers and everything around the map, as one folium element."""

    def __init__(self, page: dict[str, Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._name = "BaigeLayers"
        self.page = page

    def render(self, **_: Any) -> str:
        """Put script, style and data into the figure that the map is in."""
        figure = self.get_root()
        if not isinstance(figure, Figure) or self._parent is None:
            raise InputError("The layers must be added to a map that is in a figure.", zh="图层须加入地图。")
        leaflet_script, leaflet_style = leaflet_assets()
        own_script, own_style = page_assets()
        name = self.get_name()
        head = (
            f'<link rel="icon" href="data:," /><style>{leaflet_style}{own_style}</style><script>{leaflet_script}\n{own_script}</script>'
        )
        data = f'<script type="application/json" id="{name}">{embedded_json(self.page)}</script>'
        begin = f'Baige.start({self._parent.get_name()}, JSON.parse(document.getElementById("{name}").textContent));'
        figure.header.add_child(_Verbatim(head), name=f"{name}_head")
        figure.html.add_child(_Verbatim(data), name=f"{name}_data")
        figure.script.add_child(_Verbatim(begin), name=name)
        return ""


def offline_map(
    packed: Sequence[Packed], text: PageText, *, bounds: tuple[float, float, float, float] | None, legends: dict[str, str]
) -> folium.Map:
    """A ``folium.Map`` of packed layers.

    It carries Leaflet and its data, so that a saved page opens from disk without a network; it may be shown in a notebook and have
    other folium elements added.

    Parameters
    ----------
    packed : sequence of Packed
        Layers from the ground up.
    bounds : tuple or None
        West, south, east, north in degrees of the first view.
    legends : dict of str to str
        Layer name → legend entries (HTML of `maps.style.legend_html`).
    """
    west, south, east, north = bounds or (-180.0, -60.0, 180.0, 75.0)
    made = folium.Map(
        location=[(south + north) / 2, (west + east) / 2], zoom_start=11, tiles=None, prefer_canvas=True, zoom_control=True, max_zoom=20
    )
    made.default_js, made.default_css = [], []
    page = {
        "zh": text.title_zh,
        "en": text.title_en,
        "facts": list(text.facts),
        "notices": list(text.notices),
        "languages": list(text.languages),
        "home": text.home,
        "bounds": [[south, west], [north, east]] if bounds else None,
        "themes": [{"name": name, "zh": zh, "en": en} for name, (zh, en) in THEMES.items()],
        "layers": [{**layer.data, "legend": legends.get(layer.name, "")} for layer in packed],
    }
    made.add_child(_Layers(page), name="layers", index=0)
    root = made.get_root()
    if isinstance(root, Figure):
        root.title = f"{text.title_zh} · {text.title_en}"
        root.html.add_child(Element("<noscript>本页需要 JavaScript · This page needs JavaScript</noscript>"), name="noscript")
    return made

"""All standalone pages into one folder, with an index page that shows them as small pictures."""

import html
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import shapely

from gis.errors import InputError
from layers.declaration import LayerDeclaration, Role
from maps.encoding import Packed
from maps.pages import PAGES, MapFacts, Page, build_page, first_view, run_title, selected
from maps.style import class_of, families, style_classes
from maps.themes import DRAWING_ORDER

__all__ = ["ACCESS_FILE", "build_gallery", "layers_needed", "thumbnail"]

#: Beside the pages: for which role they were drawn, and which files were.
ACCESS_FILE = "access.json"

_WIDTH, _HEIGHT = 360, 220
_BASE_SHOWN = ("water", "road", "railway")
_MAX_SHAPES = 10_000


def layers_needed() -> list[str]:
    """Names of all layers that some page shows."""
    return list(dict.fromkeys([*DRAWING_ORDER, *(name for page in PAGES.values() for name in page.layers)]))


def _path(shape: Any, place: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]) -> str:
    parts = []
    for single in shapely.get_parts(shape):
        rings = shapely.get_rings(single) if shapely.get_type_id(single) == 3 else [single]
        for ring in rings:
            at = place(shapely.get_coordinates(ring))
            text = "L".join(f"{x:.0f} {y:.0f}" for x, y in at)
            parts.append(f"M{text}" + ("Z" if shapely.get_type_id(single) == 3 else ""))
    return "".join(parts)


def thumbnail(page: Page, frames: Mapping[str, gpd.GeoDataFrame], declarations: Mapping[str, LayerDeclaration]) -> str:
    """A small picture of a page as SVG: water, main roads and the layers shown at first."""
    bounds = first_view(page, frames)
    if bounds is None:
        return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" aria-hidden="true"></svg>'
    west, south, east, north = bounds
    squeeze = float(np.cos(np.radians((south + north) / 2)))
    scale = max((east - west) * squeeze / _WIDTH, (north - south) / _HEIGHT, 1e-6) * 1.05
    middle = np.array([(west + east) / 2, (south + north) / 2])

    def place(at: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        moved = (at[:, :2] - middle) * [squeeze, -1] / scale
        return np.asarray(moved + np.array([_WIDTH / 2, _HEIGHT / 2]))

    drawn = []
    reach = np.array([_WIDTH * scale / squeeze, _HEIGHT * scale])
    window = shapely.box(*(middle - reach), *(middle + reach))
    for name in (*_BASE_SHOWN, *(page.shown or page.layers)):
        frame, layer = frames.get(name), declarations.get(name)
        if frame is None or layer is None or not len(frame):
            continue
        frame = selected(page, name, frame)
        if name == "road":
            frame = frame[frame["road_class"].isin(["motorway", "trunk", "primary"])]
        frame = frame[shapely.intersects(window, frame.geometry.to_numpy())].head(_MAX_SHAPES)
        shapes = shapely.simplify(frame.geometry.to_numpy(), scale * 0.7)
        classes, style = style_classes(layer), layer.style
        values = frame[style.by].tolist() if style.by and style.by in frame else [None] * len(frame)
        paths: dict[str, list[str]] = {}
        for shape, value in zip(shapes, values, strict=True):
            if shape is None or shapely.is_empty(shape):
                continue
            color = classes[class_of(classes, value)].color
            kind = shapely.get_dimensions(shape)
            if kind == 0:
                x, y = place(shapely.get_coordinates(shape)[:1])[0]
                text = f"M{x:.0f} {y:.0f}h0"
            else:
                text = _path(shape, place)
            paths.setdefault(f"{kind}{color}", []).append(text)
        width = min(style.size, 2.0) if families(layer) == ("line",) else 0.6
        for key, texts in paths.items():
            kind, color = int(key[0]), key[1:]
            look = {
                0: f'stroke="{color}" stroke-width="5" stroke-linecap="round" fill="none"',
                1: f'stroke="{color}" stroke-width="{width:g}" fill="none"',
                2: f'stroke="{color}" stroke-width="0.4" fill="{color}" fill-opacity="{max(style.opacity, 0.3):g}" fill-rule="evenodd"',
            }[kind]
            drawn.append(f'<path d="{"".join(texts)}" {look}/>')
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" aria-hidden="true">{"".join(drawn)}</svg>'


_INDEX = """<!DOCTYPE html>
<html lang="{html_lang}">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">
<title>{title}</title>
<style>
body {{ font: 15px/1.6 "Noto Sans CJK SC", "Source Han Sans SC", "Microsoft YaHei", system-ui, sans-serif; color: #1d2733; background: #f4f5f3;
  margin: 0 auto; max-width: 1100px; padding: 24px; }}
h1 {{ font-size: 26px; margin: 0; }} h2 {{ font-size: 18px; margin: 10px 0 2px; }} p {{ margin: 2px 0; color: #46515c; }}
header {{ display: flex; justify-content: space-between; align-items: start; gap: 16px; margin-bottom: 16px; }}
ul {{ list-style: none; margin: 0; padding: 0; display: grid; grid-template-columns: repeat(auto-fill, minmax(320px, 1fr)); gap: 18px; }}
li a {{ display: block; height: 100%; box-sizing: border-box; background: #fff; border: 1px solid #d8dde2;
  border-radius: 10px; padding: 10px 14px 14px; color: inherit; text-decoration: none; }}
li a:hover, li a:focus-visible {{ border-color: #0b5c8e; box-shadow: 0 2px 10px rgb(0 0 0 / 12%); }}
svg {{ width: 100%; background: #f3f1ea; border-radius: 6px; display: block; }}
small {{ color: #5b6672; }} button {{ font: inherit; font-size: 14px; border: 1px solid #b9c3cc; background: #fff; color: #0b5c8e; border-radius: 6px;
  padding: 3px 12px; cursor: pointer; }}
.notice {{ background: #fff4d6; border: 1px solid #d9a514; color: #5c4300; border-radius: 6px; padding: 4px 12px; width: fit-content;
  margin-bottom: 14px; }}
.show-zh [lang="en"], .show-en [lang="zh"] {{ display: none; }}
</style>
</head>
<body class="show-{first}">
<header><div><h1>{heading}</h1><p>{facts}</p></div>{switch}</header>
{notices}
<main><ul>{cards}</ul></main>
<script>
(function () {{
  "use strict";
  var button = document.querySelector("button"), lang = "{first}";
  function show(wanted) {{
    lang = wanted;
    document.body.className = "show-" + lang;
    document.documentElement.lang = lang === "zh" ? "zh-CN" : "en";
    document.querySelectorAll("main a").forEach(function (link) {{ link.search = "?lang=" + lang; }});
    try {{ localStorage.setItem("baige-lang", lang); }} catch (error) {{ return; }}
  }}
  if (button) {{
    var kept = null;
    try {{ kept = localStorage.getItem("baige-lang"); }} catch (error) {{ kept = null; }}
    if (kept === "zh" || kept === "en") {{ show(kept); }}
    button.addEventListener("click", function () {{ show(lang === "zh" ? "en" : "zh"); }});
  }}
}})();
</script>
</body>
</html>
"""


def _both(zh: str, en: str) -> str:
    return f'<span lang="zh">{html.escape(zh)}</span><span lang="en">{html.escape(en)}</span>'


def build_gallery(
    folder: Path,
    frames: Mapping[str, gpd.GeoDataFrame],
    *,
    declarations: Mapping[str, LayerDeclaration],
    facts: MapFacts,
    languages: tuple[str, ...] = ("zh", "en"),
    role: Role = "planner",
    pages: Sequence[str] = tuple(PAGES),
    made: Callable[[str], None] | None = None,
) -> dict[str, Path]:
    """Write the pages and ``index.html`` into ``folder``; a page none of whose layers has features is left out.

    Parameters
    ----------
    made : callable, optional
        Told the name of each page after it has been written.

    Returns
    -------
    dict of str to Path
        Page name → file, ``index`` among them.

    Raises
    ------
    InputError
        The folder cannot be written, or no page has anything to show.
    """
    written: dict[str, Path] = {}
    cards = []
    ground: dict[str, Packed] = {}
    synthetic = any("synthetic" in frame and bool(frame["synthetic"].fillna(False).any()) for frame in frames.values())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ACCESS_FILE).unlink(missing_ok=True)  # nothing is public while pages change
        for name in pages:
            page = PAGES[name]
            counts = {layer: len(frames[layer]) for layer in page.focus if layer in frames and len(frames[layer])}
            if not counts:
                if made is not None:
                    made(name)
                continue
            path = folder / f"{name}.html"
            drawn = build_page(
                page, frames, declarations=declarations, facts=facts, languages=languages, role=role, home="index.html", ground=ground
            )
            drawn.save(str(path))
            written[name] = path
            listed = "；".join(f"{declarations[k].title_zh} {n:,}" for k, n in counts.items())
            listed_en = "; ".join(f"{declarations[k].title_en} {n:,}" for k, n in counts.items())
            cards.append(
                f'<li><a href="{name}.html">{thumbnail(page, frames, declarations)}<h2>{_both(page.title_zh, page.title_en)}</h2>'
                f"<p>{_both(page.about_zh, page.about_en)}</p><small>{_both(listed, listed_en)}</small></a></li>"
            )
            if made is not None:
                made(name)
        if not written:
            raise InputError("There is nothing to draw: load a city or run an analysis first.", zh="没有可绘制的数据，请先载入数据或运行分析。")
        said = [_both(facts.city_zh, facts.city_en)] if facts.city_zh else []
        said += [_both(f"{run_title(kind)[0]} {i[:8]}（{when}）", f"{run_title(kind)[1]} {i[:8]} ({when})") for kind, i, when in facts.runs]
        notice = _both("合成数据，不是真实情况", "Synthetic data, not the real state of affairs")
        switch = '<button type="button"><span lang="zh">English</span><span lang="en">中文</span></button>' if len(languages) > 1 else ""
        index = folder / "index.html"
        index.write_text(
            _INDEX.format(
                html_lang="zh-CN" if languages[0] == "zh" else "en",
                first=languages[0],
                title="百格地图 · Baige maps",
                heading=_both("百格地图", "Baige maps"),
                facts=" · ".join(said),
                switch=switch,
                notices=f'<p class="notice">{notice}</p>' if synthetic else "",
                cards="".join(cards),
            ),
            encoding="utf-8",
        )
        names = ["index.html", *(path.name for path in written.values())]
        (folder / ACCESS_FILE).write_text(json.dumps({"role": role, "files": names}), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror}", zh=f"无法写入 {folder}：{error.strerror}") from error
    return {"index": index, **written}

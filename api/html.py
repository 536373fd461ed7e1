"""The server's pages for people: our own templates and files, nothing from other servers, in Chinese and English."""

from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import jinja2
import orjson
from markupsafe import Markup
from starlette.responses import HTMLResponse, Response

if TYPE_CHECKING:
    from api.state import State

__all__ = ["entries_page", "page"]

_TEXTS = {
    "Home": "首页", "Collections": "图层", "Collection": "图层", "Conformance": "符合性", "API": "接口文档", "Processes": "处理", "Jobs": "任务",
    "Portal": "地图门户", "Maps": "地图", "Features": "要素", "Feature": "要素", "Schema": "结构",
    "Queryables": "可查询属性", "Sortables": "可排序属性",
    "Tiles": "瓦片", "Tile matrix sets": "瓦片矩阵集", "Next page": "下一页", "First page": "第一页", "in all": "共", "shown": "本页",
    "Property": "属性", "Value": "值", "Name": "名称", "Title": "标题", "Type": "类型", "Values": "取值", "Unit": "单位", "Formats": "格式",
    "Description": "说明", "Links": "链接", "Requirements classes": "符合的标准类", "This server speaks": "本服务支持", "No features.": "没有要素。",
    "Styles": "样式", "Reference systems": "坐标系", "Stored in": "存储坐标系", "Method": "方法", "Path": "路径", "What it does": "功能",
    "Parameters": "参数", "Answers": "应答", "Download": "下载", "Inputs": "输入", "Outputs": "输出", "Execute": "执行", "Records": "目录",
    "Synthetic data": "合成数据", "Status": "状态", "Progress": "进度", "Rasters": "栅格", "Layers": "图层", "Theme": "专题", "Style": "样式",
    "Nothing here.": "暂无内容。", "Kind": "类型", "Cell": "像元", "Updated": "更新", "Values of cells": "数值", "Map": "地图", "Functions": "函数",
}  # fmt: skip


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    folder = resources.files("api").joinpath("templates")
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(str(folder)), autoescape=True, trim_blocks=True, lstrip_blocks=True)

    def script_json(value: Any) -> Markup:
        # inside <script>: no way out of the element
        text = orjson.dumps(value).decode()
        return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))

    environment.filters["script_json"] = script_json
    environment.globals["urlencode"] = urlencode
    return environment


def page(state: "State", template: str, lang: str, data: dict[str, Any], *, headers: dict[str, str] | None = None, status: int = 200) -> Response:
    """Render a page; ``t('…')`` in a template is the text in the reader's language."""

    def translated(text: str) -> str:
        return _TEXTS.get(text, text) if lang == "zh" else text

    city = state.city.name_zh if lang == "zh" else state.city.name_en
    text = _environment().get_template(f"{template}.html").render(
        t=translated, lang=lang, base=state.serve.base_url, city=city, title=f"百格 · {city}" if lang == "zh" else f"Baige – {city}", **data
    )
    return HTMLResponse(text, status_code=status, headers={**(headers or {}), "Content-Language": lang})


def entries_page(
    state: "State", heading: str, lang: str, entries: list[dict[str, Any]], *, crumb: tuple[str, str] | None = None,
    headers: dict[str, str] | None = None,
) -> Response:  # fmt: skip
    """A page that lists things: each with ``id`` and ``title``, and where it has them ``href``, ``picture``, ``facts`` and ``links``."""
    texts = _TEXTS if lang == "zh" else {}
    shown = [
        {**entry, "facts": [(texts.get(name, name), value) for name, value in entry.get("facts", ())],
         "links": [{**link, "title": texts.get(link["title"], link["title"])} for link in entry.get("links", ())]}
        for entry in entries
    ]  # fmt: skip
    path = (crumb[0], texts.get(crumb[1], crumb[1])) if crumb else None
    return page(state, "entries", lang, {"heading": texts.get(heading, heading), "entries": shown, "crumb": path}, headers=headers)

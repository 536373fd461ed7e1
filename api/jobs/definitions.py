"""The processes offered, their inputs as JSON Schema, and the command that does each.

A process is done by the command line of Baige in a process of its own: what a planner can start here is what an operator can type, and
stopping it stops its kernels and its statements with it.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jsonschema

from api.problems import Invalid

__all__ = ["PROCESSES", "Process", "available", "check_inputs"]


@dataclass(frozen=True)
class Process:
    """A process.

    Attributes
    ----------
    command : callable or None
        Words of the command line for the inputs; None for ``export``, which runs with the rights of the asker.
    module : str
        The module of ``api.cli`` that must be there.
    file : str
        Ending of the file that the command writes to its option ``--out``; empty where it prints its result.
    """

    id: str
    title: tuple[str, str]
    description: tuple[str, str]
    inputs: dict[str, dict[str, Any]]
    module: str
    command: Callable[[dict[str, Any]], list[str]] | None = None
    results: tuple[str, ...] = ()
    file: str = ""

    @property
    def schema(self) -> dict[str, Any]:
        """Schema of all inputs together."""
        return {"type": "object", "properties": self.inputs, "additionalProperties": False,
                "required": [name for name, schema in self.inputs.items() if schema.get("x-required")]}  # fmt: skip

    def text(self, pair: tuple[str, str], lang: str) -> str:
        """The one of two texts in ``lang``."""
        return pair[lang == "zh"]


def _options(inputs: dict[str, Any], **flags: str) -> list[str]:
    words = []
    for name, flag in flags.items():
        if name in inputs:
            values = inputs[name] if isinstance(inputs[name], list) else [inputs[name]]
            for value in values:
                words += [flag, str(value)]
    return words


def _flags(inputs: dict[str, Any], **flags: str) -> list[str]:
    return [flag for name, flag in flags.items() if inputs.get(name)]


_NAME = "^[A-Za-z0-9一-鿿][A-Za-z0-9一-鿿-]*$"
_WEIGHT = {"type": "string", "enum": ["population", "household_count"], "default": "population", "title": "What is balanced 均衡指标"}
_FORMATS = ["csv", "gpkg", "fgb", "parquet"]

#: By id.
PROCESSES: dict[str, Process] = {
    p.id: p
    for p in (
        Process(
            "coverage", ("Coverage by cameras", "视频覆盖计算"),
            ("What the cameras see, cut by buildings and terrain, as layers of results.", "计算摄像机在建筑和地形遮挡下的可视范围，结果存为图层。"),
            {"mode": {"type": "string", "enum": ["exact", "fast"], "default": "exact", "title": "Lines of sight 视线计算方式"},
             "cell_m": {"type": "number", "minimum": 0.25, "maximum": 50, "title": "Side of a cell in metres 像元边长（米）"}},
            "coverage", lambda i: ["coverage", "run", *_options(i, mode="--mode", cell_m="--cell")],
            ("coverage_by_grid", "bank_coverage", "outfall_watch", "school_coverage"),
        ),
        Process(
            "gaps", ("Coverage gaps", "覆盖盲区"), ("Places that matter and that no camera sees.", "重要而无摄像机可见的地方。"), {},
            "gaps", lambda i: ["gaps"], ("coverage_gap",),
        ),
        Process(
            "propose-sites", ("Sites for new cameras", "新增点位建议"),
            ("Where new cameras would see most of what is not watched.", "新增摄像机的最佳位置。"),
            {"count": {"type": "integer", "minimum": 1, "maximum": 10000, "title": "How many 数量"},
             "budget": {"type": "number", "exclusiveMinimum": 0, "maximum": 1e12, "title": "Or most to spend, in yuan 或预算（元）"},
             "area": {"type": "string", "pattern": "^[0-9]{2,12}$", "title": "Administrative code 区划代码"}},
            "site", lambda i: ["site", "propose", *_options(i, count="--count", budget="--budget", area="--area")], ("site_proposal",),
        ),
        Process(
            "compare-scenario", ("Compare a scenario", "方案对比"),
            ("Coverage of the whole city before and after a scenario that is kept.", "已存方案实施前后的全市覆盖对比。"),
            {"scenario": {"type": "string", "pattern": r"^[\w.-]{1,60}$", "x-required": True, "title": "Scenario 方案"},
             "base": {"type": "string", "pattern": r"^[\w.-]{1,60}$", "title": "Another scenario to start from 基准方案"},
             "mode": {"type": "string", "enum": ["exact", "fast"], "default": "exact", "title": "Lines of sight 视线计算方式"}},
            "coverage", lambda i: ["coverage", "compare", *_options(i, mode="--mode", base="--base"), "--", i["scenario"]],
        ),
        Process(
            "report", ("Report as PDF", "生成报告（PDF）"),
            ("The report of the newest coverage run.", "最近一次覆盖计算的报告。"),
            {"area": {"type": "string", "pattern": "^[0-9]{2,12}$", "title": "Administrative code 区划代码"},
             "lang": {"type": "string", "enum": ["zh", "en"], "default": "zh", "title": "Language 语言"}},
            "report", lambda i: ["report", *_options(i, area="--area", lang="--lang")], file="pdf",
        ),
        Process(
            "layout-check", ("Check the layout", "布局检查"), ("Ring, zones, grids and points against their rules.", "检查圈、片、格、点布局。"),
            {"layout": {"type": "string", "maxLength": 60, "pattern": _NAME, "default": "current", "title": "Layout or draft 布局方案"},
             "weight": _WEIGHT},
            "layout", lambda i: ["layout", "check", *_options(i, layout="--layout", weight="--weight")], ("layout_fault",),
        ),
        Process(
            "layout-plan", ("Plan a layout", "布局规划"), ("Draw balanced zones and grids from street blocks.", "由街区划分均衡的片和格。"),
            {"name": {"type": "string", "maxLength": 40, "pattern": _NAME, "default": "draft", "title": "Name of the draft 草案名"},
             "base": {"type": "string", "maxLength": 60, "pattern": _NAME, "default": "current", "title": "Layout to begin with 基准方案"},
             "keep": {"type": "boolean", "default": False, "title": "Change it as little as needed 尽量少改"},
             "into": {"type": "string", "maxLength": 60, "pattern": _NAME, "title": "Draft whose next version it becomes 存为该草案下一版"},
             "ring": {"type": "string", "enum": ["keep", "draw"], "default": "keep", "title": "Ring 环线"},
             "across_river": {"type": "boolean", "default": False, "title": "A zone may lie on both banks 片区可跨河"},
             "pinned": {"type": "array", "items": {"type": "string", "pattern": _NAME}, "maxItems": 1000,
                        "title": "Units that may not move 固定单元"},
             "weight": _WEIGHT},
            "layout",
            lambda i: ["layout", "plan", *_options(i, name="--name", base="--base", into="--into", ring="--ring", pinned="--pin", weight="--weight"),
                       *_flags(i, keep="--keep", across_river="--across-river")], ("layout_unit", "layout_fault"),
        ),
        Process(
            "layout-adopt", ("Adopt a draft", "采用草案"), ("A draft becomes the current layout.", "草案成为现行布局。"),
            {"draft": {"type": "string", "maxLength": 60, "pattern": _NAME, "x-required": True, "title": "Draft 草案"},
             "anyway": {"type": "boolean", "default": False, "title": "Even with errors 有错误也采用"}},
            "layout", lambda i: ["layout", "adopt", *_flags(i, anyway="--anyway"), "--", i["draft"]], ("layout_unit", "layout_fault"),
        ),
        Process(
            "rules-check", ("Check the rules", "规则检查"), ("Places against the table of rules of law and project.", "按规则表检查各类地点。"),
            {"rules": {"type": "array", "items": {"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,40}$"}, "maxItems": 100,
                       "title": "Only these 仅这些规则"},
             "at": {"type": "string", "format": "date", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$", "title": "Day whose law counts 适用日期"}},
            "rules", lambda i: ["rules", "check", *_options(i, rules="--rule", at="--at")], ("rule_finding",),
        ),
        Process(
            "export", ("Export a layer", "导出图层"),
            ("Features of a layer as a file, with the rights of the asker.", "按请求者的权限将图层导出为文件。"),
            {"collection": {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,47}$", "x-required": True, "title": "Layer 图层"},
             "format": {"type": "string", "enum": _FORMATS, "default": "gpkg", "title": "Format 格式"},
             "filter": {"type": "string", "maxLength": 60000, "title": "CQL2"},
             "crs": {"type": "string", "maxLength": 100, "title": "Reference system 坐标系"}},
            "serve",
        ),
    )
}  # fmt: skip


def available() -> dict[str, Process]:
    """Those whose command is installed."""
    return {name: p for name, p in PROCESSES.items() if importlib.util.find_spec(f"api.cli.{p.module}") is not None}


def check_inputs(process: Process, inputs: Any) -> dict[str, Any]:
    """The inputs, checked against the schema.

    Raises
    ------
    Invalid
        With the path of each fault.
    """
    faults = []
    for error in jsonschema.Draft202012Validator(process.schema).iter_errors(inputs):
        path = "/inputs/" + "/".join(str(p) for p in error.absolute_path)
        message = error.message[:200]
        faults.append({"path": path.rstrip("/"), "en": message, "zh": f"不符合输入要求：{message}"})
    if faults:
        raise Invalid(f"{len(faults)} faults in the inputs; the first: {faults[0]['path']}: {faults[0]['en']}",
                      zh=f"输入有 {len(faults)} 处错误，第一处：{faults[0]['path']}", faults=faults)  # fmt: skip
    found: dict[str, Any] = dict(inputs)
    return found

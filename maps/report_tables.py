"""Tables of the report and its notes, in one language, from the rows of the result layers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import geopandas as gpd
import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gis.crs import transformer
from grids.rules import read_rules
from layers.declaration import LayerDeclaration
from maps.report_words import assumption, left_out, parameter

__all__ = ["GAPS_SHOWN", "Column", "Table", "all_tables"]

#: How many of the gaps with the greatest need are listed.
GAPS_SHOWN = 20
_LEVELS = (("overview", "概览", "overview"), ("outline", "轮廓", "outline"), ("discern", "辨认", "discern"))

Kind = Literal["text", "int", "num", "share", "any"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its title, what its cells are, and its part of the width of a page."""

    title: str
    kind: Kind = "text"
    width: float = 1.0


@dataclass(frozen=True)
class Table:
    """A table of the report; ``key`` names it whatever the language. Cells are plain numbers, texts or None."""

    key: str
    title: str
    columns: tuple[Column, ...]
    rows: list[tuple[Any, ...]]
    note: str = ""


@dataclass
class _Source:
    """What the tables are made from."""

    connection: Connection
    run: Mapping[str, Any]
    results: dict[str, gpd.GeoDataFrame]
    named: dict[str, LayerDeclaration]
    names: dict[str, str]
    prefix: str
    lang: str
    missing: list[str] = field(default_factory=list)

    def say(self, zh: str, en: str) -> str:
        return zh if self.lang.startswith("zh") else en

    def term(self, layer: str, name: str, value: Any) -> str:
        for term in self.named[layer].field(name).domain:
            if str(term.value) == str(value):
                return self.say(term.zh, term.en)
        return self.say("未知", "Unknown") if value is None or pd.isna(value) or value == "" else str(value)


def all_tables(
    connection: Connection,
    run: Mapping[str, Any],
    results: dict[str, gpd.GeoDataFrame],
    named: dict[str, LayerDeclaration],
    *,
    names: dict[str, str],
    prefix: str,
    lang: str,
    missing: list[str],
) -> tuple[list[Table], list[str]]:
    """Tables in the order of the report, and the notes on method and limits.

    Parameters
    ----------
    run : mapping
        The row of the coverage run.
    results : dict
        Rows by layer, limited to the area already.
    names : dict
        Names of areas by the telling digits of their codes.
    missing : list of str
        Layers that should be drawn and have no rows.
    """
    source = _Source(connection, run, results, named, names, prefix, lang, missing)
    tables = [_summary(source), _density(source)]
    kinds = ["county", "street"] + (["community"] if len(prefix) >= 9 else [])
    tables += [table for kind in kinds if (table := _units(source, kind)).rows]
    tables += [
        _evenness(source),
        _urban_rural(source),
        _states(source),
        _causes(source),
        _worst(source),
        _findings(source),
        _parameters(source),
        _inputs(source),
    ]
    return [table for table in tables if table.rows or table.key in ("gaps", "findings")], _notes(source)


def _share(part: float, whole: float) -> float | None:
    return float(part) / float(whole) if whole else None


def _cells(source: _Source) -> gpd.GeoDataFrame:
    frame = source.results["coverage_by_grid"]
    return frame[frame["unit_kind"] == "grid"]


def _summary(source: _Source) -> Table:
    """Headline figures: of the whole city as the run kept them, of an area from its rows."""
    say, cells = source.say, _cells(source)
    rows: list[tuple[Any, ...]] = []
    found: dict[str, Any] = source.run["summary"]
    if not source.prefix:
        rows += [
            (say("参与计算的摄像机", "Cameras that take part"), found["cameras"], say("台", "")),
            (say("其中在线", "of them online"), found["cameras_online"], say("台", "")),
        ]
        for reason, n in found.get("cameras_left_out", {}).items():
            rows.append((say("未参与：", "left out: ") + left_out(reason, source.lang), n, say("台", "")))
        for density, area in found["area_confirmed_online_m2"].items():
            unit = "km²"
            rows.append(
                (
                    say(f"{density} 像素/米：在线确定覆盖", f"Seen at {density} px/m: confirmed, online"),
                    round(area / 1e6, 3),
                    unit,
                )
            )
            possible = found["area_possible_online_m2"][density]
            rows.append(
                (
                    say(f"{density} 像素/米：在线可能覆盖", f"Seen at {density} px/m: possible, online"),
                    round(possible / 1e6, 3),
                    unit,
                )
            )
    elif len(cells):
        rows += [
            (say("网格内摄像机", "Cameras in grid cells"), int(cells["cameras"].sum()), say("台", "")),
            (say("其中在线", "of them online"), int(cells["cameras_online"].sum()), say("台", "")),
        ]
    if len(cells):
        public, road = cells["public_m2"], cells["road_m"]
        seen = _share((cells["online_overview"] * public).sum(), public.sum())
        driven = _share((cells["road_confirmed"] * road).sum(), road.sum())
        rows += [
            (say("单元网格", "Grid cells"), len(cells), say("个", "")),
            (say("公共空间面积", "Public space"), round(float(public.sum()) / 1e6, 2), "km²"),
            (say("公共空间在线确定覆盖率", "Public space confirmed, online"), _percent(seen), "%"),
            (say("道路确定覆盖率", "Roads confirmed"), _percent(driven), "%"),
            (say("路口", "Crossings"), int(cells["crossings"].sum()), say("个", "")),
            (say("其中确定覆盖", "of them confirmed"), int(cells["crossings_confirmed"].sum()), say("个", "")),
        ]  # fmt: skip
    rows.append((say("盲区", "Gaps"), len(source.results["coverage_gap"]), say("处", "")))
    rows.append((say("规则核查发现", "Rule findings"), len(source.results["rule_finding"]), say("条", "")))
    columns = (
        Column(say("指标", "Figure"), width=5),
        Column(say("数值", "Value"), "any", 1.6),
        Column(say("单位", "Unit"), width=1),
    )
    return Table("summary", say("主要结果", "Main figures"), columns, rows)


def _percent(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 2)


def _density(source: _Source) -> Table:
    """Shares of public space by pixel density."""
    say, cells = source.say, _cells(source)
    rows: list[tuple[Any, ...]] = []
    densities = source.run["parameters"].get("densities_px_m", [])
    for density, (level, zh, en) in zip(densities, _LEVELS, strict=False):
        whole = cells["public_m2"].sum()
        if whole:
            shares = [
                _share((cells[f"{kind}_{level}"] * cells["public_m2"]).sum(), whole)
                for kind in ("confirmed", "possible", "online")
            ]
            rows.append((say(f"{density:g} 像素/米（{zh}）", f"{density:g} px/m ({en})"), *shares))
    columns = (
        Column(say("像素密度", "Pixel density"), width=3),
        Column(say("确定", "Confirmed"), "share", 1.6),
        Column(say("可能", "Possible"), "share", 1.6),
        Column(say("在线确定", "Confirmed, online"), "share", 2.2),
    )
    return Table("density", say("公共空间覆盖率", "Share of public space seen"), columns, rows)


def _by_code(source: _Source, layer: str, width: int, chosen: pd.Series | None = None) -> dict[str, int]:
    frame = source.results[layer]
    codes = (frame if chosen is None else frame[chosen])["admin_code"].dropna().astype(str)
    return {
        str(k): int(v) for k, v in codes[codes.str.rstrip("0").str.len() > width - 3].str[:width].value_counts().items()
    }


def _units(source: _Source, kind: str) -> Table:
    """One row an area of a level, in the order of codes."""
    say = source.say
    width, zh, en = {
        "county": (6, "县区", "county"),
        "street": (9, "街道", "street"),
        "community": (12, "社区", "community"),
    }[kind]
    frame = source.results["coverage_by_grid"]
    frame = frame[frame["unit_kind"] == kind].sort_values("admin_code")
    watch = source.results["outfall_watch"]
    outfalls = _by_code(source, "outfall_watch", width)
    watched = _by_code(source, "outfall_watch", width, watch["watch_state"].isin(["watched", "single"]))
    gaps, findings = _by_code(source, "coverage_gap", width), _by_code(source, "rule_finding", width)
    rows: list[tuple[Any, ...]] = []
    for row in frame.itertuples():
        code = str(row.admin_code)
        key = code[:width]
        rows.append((
            source.names.get(key, row.name_zh), code, round(row.area_m2 / 1e6, 2), _known(row.online_overview), _known(row.possible_overview),
            _known(row.road_confirmed), int(row.crossings), int(row.crossings_confirmed), int(row.cameras), int(row.cameras_online),
            outfalls.get(key, 0), watched.get(key, 0), gaps.get(key, 0), findings.get(key, 0),
        ))  # fmt: skip
    columns = (
        Column(say("名称", "Name"), width=2.9),
        Column(say("区划代码", "Code"), width=1.8),
        Column(say("面积 km²", "Area km²"), "num", 1.1),
        Column(say("在线确定覆盖率", "Online, confirmed"), "share", 1.6),
        Column(say("可能覆盖率", "Possible"), "share", 1.2),
        Column(say("道路覆盖率", "Roads"), "share", 1.2),
        Column(say("路口", "Crossings"), "int", 1.3),
        Column(say("覆盖路口", "confirmed"), "int", 1.3),
        Column(say("摄像机", "Cameras"), "int", 1.2),
        Column(say("在线", "online"), "int", 1.0),
        Column(say("排污口", "Outfalls"), "int", 1.2),
        Column(say("可见", "watched"), "int", 1.2),
        Column(say("盲区", "Gaps"), "int", 0.9),
        Column(say("规则发现", "Findings"), "int", 1.25),
    )
    note = say(
        "面积为其单元网格面积之和；覆盖率以公共空间面积为分母（概览级密度）。计数只含区划代码达到本级的要素，故各行之和可小于全市总数。",
        "The area is that of the grid cells; shares are of public space, at overview density. Counts take in only places whose code"
        " reaches this level, so rows may sum to less than the city.",
    )
    return Table(kind, say(f"按{zh}统计", f"By {en}"), columns, rows, note)


def _known(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(value)


def _evenness(source: _Source) -> Table:
    """How evenly counties, streets and urban–rural classes are watched, as the run has told it; for the whole city only."""
    say = source.say
    told = (source.run["summary"] or {}).get("fairness") or {}
    named = {"county": ("县区", "Counties"), "street": ("街道", "Streets"), "urban_rural": ("城乡分类", "Urban–rural classes")}

    def name(kind: str, unit: Mapping[str, Any]) -> str:
        if kind == "urban_rural":
            return source.term("coverage_by_grid", "urban_rural", unit["code"])
        code = unit["code"] or ""
        return source.names.get(code[: 6 if kind == "county" else 9], unit["name_zh"] or code)

    rows: list[tuple[Any, ...]] = [
        (say(*named[kind]), one["units"], one["share"], name(kind, one["best"]), one["best"]["share"],
         name(kind, one["worst"]), one["worst"]["share"], one["ratio"], one["spread"], one["below_half"])
        for kind, one in told.items() if kind in named and one["units"] > 1
    ]  # fmt: skip
    columns = (
        Column(say("单元", "Units"), width=1.9),
        Column(say("数量", "Number"), "int", 0.9),
        Column(say("合计", "Together"), "share", 1.1),
        Column(say("最高", "Most"), width=1.8),
        Column(say("覆盖率", "Share"), "share", 1.1),
        Column(say("最低", "Least"), width=1.8),
        Column(say("覆盖率", "Share"), "share", 1.1),
        Column(say("最低比最高", "Least to most"), "share", 1.4),
        Column(say("平均偏差", "Spread"), "share", 1.2),
        Column(say("不足一半", "Below half"), "int", 1.2),
    )
    note = say(
        "公共空间在线确定覆盖率（概览级）。平均偏差：各单元与合计之差的绝对值，按公共空间加权；不足一半：覆盖率低于合计一半的单元数。",
        "Online, confirmed share of public space at overview density. Spread: mean distance of the units from all together, weighted by public"
        " space; below half: units with less than half of that share.",
    )
    return Table("evenness", say("覆盖均衡性", "How evenly the city is watched"), columns, [] if source.prefix else rows, note)


def _urban_rural(source: _Source) -> Table:
    """One row an urban–rural class: the source asks to serve villages and outskirts, too."""
    say = source.say
    frame = source.results["coverage_by_grid"]
    frame = frame[frame["unit_kind"] == "urban_rural"].sort_values("urban_rural")
    rows: list[tuple[Any, ...]] = [
        (source.term("coverage_by_grid", "urban_rural", row.urban_rural), str(row.urban_rural or ""), round(row.area_m2 / 1e6, 2),
         _known(row.online_overview), _known(row.possible_overview), _known(row.road_confirmed), int(row.cameras), int(row.cameras_online))
        for row in frame.itertuples()
    ]  # fmt: skip
    columns = (
        Column(say("城乡分类", "Urban–rural class"), width=2.4),
        Column(say("代码", "Code"), width=1.0),
        Column(say("面积 km²", "Area km²"), "num", 1.2),
        Column(say("在线确定覆盖率", "Online, confirmed"), "share", 1.7),
        Column(say("可能覆盖率", "Possible"), "share", 1.4),
        Column(say("道路覆盖率", "Roads"), "share", 1.4),
        Column(say("摄像机", "Cameras"), "int", 1.2),
        Column(say("在线", "online"), "int", 1.0),
    )
    return Table("urban_rural", say("按城乡分类统计", "By urban–rural class"), columns, [] if source.prefix else rows)


def _states(source: _Source) -> Table:
    """Banks, outfalls and schools by state, in the order of their declarations."""
    say = source.say
    rows: list[tuple[Any, ...]] = []
    for layer, name, zh, en, unit in (
        ("bank_coverage", "state", "岸线", "Riverbank", "m"),
        ("outfall_watch", "watch_state", "排污口", "Outfalls", ""),
        ("school_coverage", "state", "学校", "Schools", ""),
    ):
        frame = source.results[layer]
        if not len(frame):
            continue
        amounts = frame.groupby(name)["length_m"].sum() if unit else frame[name].value_counts()
        total = float(amounts.sum())
        for term in source.named[layer].field(name).domain:
            if term.value in amounts.index:
                amount = float(amounts[term.value])
                rows.append(
                    (
                        say(zh, en),
                        say(term.zh, term.en),
                        round(amount),
                        say("米", "m") if unit else say("处", ""),
                        _share(amount, total),
                    )
                )
    columns = (
        Column(say("对象", "Of what"), width=2),
        Column(say("状态", "State"), width=3),
        Column(say("数量", "Amount"), "int", 1.6),
        Column(say("单位", "Unit"), width=1),
        Column(say("占比", "Share"), "share", 1.4),
    )
    return Table("states", say("岸线、排污口和学校", "Riverbank, outfalls and schools"), columns, rows)


def _causes(source: _Source) -> Table:
    """Gaps by cause."""
    say, frame = source.say, source.results["coverage_gap"]
    counts = frame["cause"].fillna("").value_counts()
    rows = [(source.term("coverage_gap", "cause", cause), int(n), _share(n, len(frame))) for cause, n in counts.items()]
    columns = (
        Column(say("主要原因", "Main cause"), width=4),
        Column(say("盲区数", "Gaps"), "int", 1.6),
        Column(say("占比", "Share"), "share", 1.4),
    )
    return Table("causes", say("盲区原因", "Causes of gaps"), columns, rows)


def _word(value: Any) -> str:
    """A text of a frame; a missing one is empty."""
    return "" if value is None or pd.isna(value) else str(value)


def _place(source: _Source, row: Any) -> str:
    """Where a gap is: its name and stationing, or the code of its grid cell."""
    stationing = _word(row.stationing)
    if source.lang.startswith("zh"):
        name = _word(row.name_zh)
    else:
        bank = source.term("coverage_gap", "bank_side", row.bank_side) if _word(row.bank_side) else ""
        name = _word(row.name_en) or bank or ("" if stationing else _word(row.name_zh))
    return " ".join(part for part in (name, stationing) if part) or _word(row.grid_code)


def _worst(source: _Source) -> Table:
    """The gaps with the greatest need."""
    say = source.say
    frame = source.results["coverage_gap"].sort_values("rank").head(GAPS_SHOWN)
    rows: list[tuple[Any, ...]] = []
    if len(frame):
        spots = frame.geometry.representative_point()
        degrees = transformer(int(frame.crs.to_epsg()), 4490)
        for row, spot in zip(frame.itertuples(), spots, strict=True):
            lon, lat = degrees.transform(spot.x, spot.y)
            code = _word(row.admin_code)
            near = source.names.get(code[:9]) or source.names.get(code[:6]) or ""
            rows.append((
                int(row.rank), source.term("coverage_gap", "target_kind", row.target_kind), _place(source, row), near,
                source.term("coverage_gap", "cause", row.cause), _known(row.cause_share), _known(row.need), f"{lon:.5f}, {lat:.5f}",
            ))  # fmt: skip
    columns = (
        Column(say("排名", "Rank"), "int", 0.8),
        Column(say("对象", "Of what"), width=1.7),
        Column(say("位置", "Place"), width=3.2),
        Column(say("街道或县区", "Street or county"), width=2.4),
        Column(say("主要原因", "Main cause"), width=2.2),
        Column(say("主因占比", "Its share"), "share", 1.2),
        Column(say("需要程度", "Need"), "num", 1.2),
        Column(say("经纬度（CGCS2000）", "Lon, lat (CGCS2000)"), width=2.8),
    )
    title = say(f"需要程度最高的 {len(rows)} 处盲区", f"The {len(rows)} gaps of greatest need")
    note = "" if rows else say("没有盲区。", "There are no gaps.")
    return Table("gaps", title, columns, rows, note)


def _findings(source: _Source) -> Table:
    """Findings by rule and verdict."""
    say, frame = source.say, source.results["rule_finding"]
    rules = {rule.id: rule for rule in read_rules()}
    order = {str(term.value): n for n, term in enumerate(source.named["rule_finding"].field("verdict").domain)}
    rows: list[tuple[Any, ...]] = []
    for (rule_id, verdict), group in frame.groupby(["rule_id", "verdict"]):
        first, rule = group.iloc[0], rules.get(str(rule_id))
        title = say(_word(first["name_zh"]), _word(first["name_en"])) or (
            say(rule.title_zh, rule.title_en) if rule else ""
        )
        basis = say(rule.source_zh, rule.source_en) if rule else _word(first["source"])
        waived = int(group["waived"].fillna(False).astype(bool).sum())
        called = source.term("rule_finding", "verdict", verdict)
        rows.append((str(rule_id), title, called, basis, _word(first["article"]), len(group), waived, verdict))
    rows.sort(key=lambda row: (order.get(row[-1], 9), int("".join(c for c in row[0] if c.isdigit()) or 0), row[0]))
    columns = (
        Column(say("规则", "Rule"), width=0.8),
        Column(say("内容", "What it says"), width=5.0),
        Column(say("结论", "Verdict"), width=1.6),
        Column(say("依据", "Source"), width=4.2),
        Column(say("条款", "Article"), width=1.6),
        Column(say("数量", "Findings"), "int", 1.2),
        Column(say("已豁免", "Waived"), "int", 1.1),
    )
    note = say("发现仅供人工判断，不是处理决定。", "Findings are for a person to judge; they decide nothing.")
    if not rows:
        note = say(
            "没有规则核查发现，或尚未运行 baige rules check。", "No findings, or 'baige rules check' has not been run."
        )
    return Table("findings", say("规则核查发现", "Rule findings"), columns, [row[:-1] for row in rows], note)


def _parameters(source: _Source) -> Table:
    say = source.say
    rows: list[tuple[Any, ...]] = []
    for name, value in source.run["parameters"].items():
        title = parameter(name, source.lang)
        if title is not None:
            if name == "mode":
                shown: Any = {"exact": say("精确", "exact"), "fast": say("快速", "fast")}.get(value, value)
            else:
                shown = ", ".join(f"{v:g}" for v in value) if isinstance(value, list) else value
            rows.append((title, shown))
    columns = (Column(say("参数", "Parameter"), width=4), Column(say("取值", "Value"), "any", 2))
    return Table("parameters", say("计算参数", "Parameters of the run"), columns, rows)


def _inputs(source: _Source) -> Table:
    """What the run was made from, and whether that has changed since."""
    say = source.say
    now = {
        str(k): int(v)
        for k, v in source.connection.execute(sa.text("SELECT name, change_counter FROM baige_sys.layer"))
    }
    rows: list[tuple[Any, ...]] = []
    for name, seen in sorted(source.run["inputs"].items()):
        layer = source.named.get(name)
        counter = seen.get("change_counter")
        later = now.get(name)
        changed = say("是", "yes") if later != counter else say("否", "no")
        rows.append(
            (
                say(layer.title_zh, layer.title_en) if layer else name,
                name,
                seen.get("features"),
                counter,
                later,
                changed,
            )
        )
    columns = (
        Column(say("图层", "Layer"), width=3),
        Column(say("名称", "Name"), width=2.4),
        Column(say("要素数", "Features"), "int", 1.4),
        Column(say("计算时变更号", "Changes at the run"), "int", 2.0),
        Column(say("当前变更号", "Changes now"), "int", 1.6),
        Column(say("其后有变更", "Changed since"), width=1.6),
    )
    return Table("inputs", say("数据来源", "What the run was made from"), columns, rows)


def _notes(source: _Source) -> list[str]:
    """Method and limits."""
    say = source.say
    notes = [
        say(
            "“确定”指在各项误差的不利组合下仍可见；“可能”指在有利组合下可见，包含“确定”。“在线”只计当前在线的摄像机。",
            "Confirmed: seen even with all errors at their worst. Possible: seen with errors at their best; it contains what is confirmed."
            " Online counts only cameras that are online.",
        ),
        say(
            "像素密度为场景尺度，用于判断看清场景的程度，不用于识别人。",
            "Pixel densities are of scene scale: how well a scene can be made out, not for recognising persons.",
        ),
        say(
            "结果由登记数据、建筑和地形推算，未经现场核实；树木、招牌、临时遮挡和夜间照明未计入。",
            "Results follow from registers, buildings and terrain and were not checked on site;"
            " trees, signs, passing obstacles and light at night are not counted.",
        ),
    ]
    assumed = source.run["summary"].get("assumptions", [])
    notes += [say("本次计算的假定：", "Assumed in this run: ") + assumption(text, source.lang) for text in assumed]
    notes += [
        say(
            f"图层“{source.named[name].title_zh}”没有结果，未成图。",
            f"Layer “{source.named[name].title_en}” has no results and is not drawn.",
        )
        for name in source.missing
        if name in source.named
    ]
    if source.prefix:
        notes.append(
            say(
                f"只含区划代码以 {source.prefix} 开头的要素；没有代码或代码级别较高的要素不计入。",
                f"Only places whose code begins with {source.prefix}; places without a code, or with that of a larger area, are left out.",
            )
        )
    other = {
        str(v)
        for name, frame in source.results.items()
        if name != "rule_finding" and "run_id" in frame
        for v in frame["run_id"].dropna().unique()
    } - {str(source.run["id"])}
    if other:
        listed = ", ".join(sorted(other))
        notes.append(say(f"部分结果来自其他运行：{listed}。", f"Some results come from other runs: {listed}."))
    checks = sorted(
        str(v) for v in source.results["rule_finding"].get("run_id", pd.Series(dtype=object)).dropna().unique()
    )
    if checks:
        listed = ", ".join(checks)
        notes.append(say(f"规则核查运行：{listed}。", f"Runs of the rule check: {listed}."))
    return notes

"""Words of the report that no declaration holds: assumptions of a run and names of its parameters in Chinese."""

import re

__all__ = ["assumption", "left_out", "parameter"]

#: What `gis.cameras`, `gis.visibility_surface` and `grids.scene` say in English, and the same in Chinese.
_ASSUMPTIONS = (
    (r"(\d+) of (\d+) cameras: (.*)", r"\2 台摄像机中 \1 台：\3"),
    (r"mount height (\S+) m by default", r"挂高按默认 \1 米"),
    (r"horizontal view (\S+)° by default \(panoramic 360°\)", r"水平视场角按默认 \1°（全景 360°）"),
    (r"vertical view (\S+)° by default \(panoramic 90°\)", r"垂直视场角按默认 \1°（全景 90°）"),
    (r"tilt (\S+)° by default \(panoramic 45°\)", r"俯角按默认 \1°（全景 45°）"),
    (r"view distance (\S+) m by default", r"可视距离按默认 \1 米"),
    (r"width (\d+) px by default", r"像素宽按默认 \1"),
    (r"structure type unknown, taken as fixed", "结构类型未知，按固定枪机计"),
    (r"network state unknown, never confirmed online", "在线状态未知，不计入“在线确定”"),
    (r"direction unknown, nothing confirmed", "方向未知，不计入“确定”"),
    (r"azimuth from a direction code, known to 22\.5°", "方位角由监视方位代码推得，误差 22.5°"),
    (r"view distance cut to the greatest range", "可视距离截至最大作用距离"),
    (r"inside a building, moved to its edge", "位于建筑物内，已移至外缘"),
    (r"(\d+) cameras were rejected and take no part", r"\1 台摄像机数据有误，未参与计算"),
    (r"(\S+) of the terrain model was void and has been filled", r"地形模型中 \1 为空值，已插补"),
    (
        r"(\d+) cameras stand outside the terrain model: level ground at (\S+) m assumed there",
        r"\1 台摄像机在地形模型之外，该处按高程 \2 米的平地计",
    ),
    (r"no terrain model: flat ground at height 0 assumed", "没有地形模型：按高程 0 米的平地计"),
    (r"ground outside or void in the terrain model: (\S+) m assumed", r"地形模型之外或空值处按高程 \1 米计"),
)

_LEFT_OUT = {
    "indoor_or_removed": ("室内或已拆除", "indoors or removed"),
    "indoor": ("室内", "indoors"),
    "removed": ("已拆除", "removed"),
    "outside": ("位置在分析范围之外", "outside the area of analysis"),
    "no_position": ("没有位置", "without a position"),
    "duplicate": ("标识重复", "identifier given twice"),
    "ptz_type": ("结构类型有误", "impossible structure type"),
    "direction": ("监视方位代码有误", "impossible direction code"),
    "azimuth": ("方位角有误", "impossible azimuth"),
    "hfov": ("水平视场角有误", "impossible horizontal view"),
    "vfov": ("垂直视场角有误", "impossible vertical view"),
    "tilt": ("俯角有误", "impossible tilt"),
    "mount_height": ("挂高有误", "impossible mount height"),
    "range": ("可视距离有误", "impossible view distance"),
    "resolution": ("像素宽有误", "impossible resolution"),
}

_PARAMETERS = {
    "mode": ("视线计算方式", "Lines of sight"),
    "cell_m": ("像元边长（米）", "Side of a cell, m"),
    "target_height_m": ("目标高度（米）", "Height of what is to be seen, m"),
    "densities_px_m": ("像素密度（像素/米）", "Pixel densities, px/m"),
    "range_max_m": ("最大作用距离（米）", "Greatest range, m"),
    "refraction": ("折光系数", "Refraction coefficient"),
}


def assumption(text: str, lang: str) -> str:
    """An assumption of a run in ``lang``; one that is not known here stays in English.

    Examples
    --------
    >>> assumption("3 of 9 cameras: mount height 6 m by default", "zh")
    '9 台摄像机中 3 台：挂高按默认 6 米'
    """
    if not lang.startswith("zh"):
        return text
    for pattern, zh in _ASSUMPTIONS:
        found = re.fullmatch(pattern, text)
        if found:
            if pattern.endswith("(.*)"):
                return f"{found[2]} 台摄像机中 {found[1]} 台：{assumption(found[3], lang)}"
            return found.expand(zh)
    return text


def left_out(reason: str, lang: str) -> str:
    """Why cameras take no part, in ``lang``."""
    zh, en = _LEFT_OUT.get(reason, (reason, reason.replace("_", " ")))
    return zh if lang.startswith("zh") else en


def parameter(name: str, lang: str) -> str | None:
    """Name of a parameter of a coverage run in ``lang``; None for one that the report does not show."""
    found = _PARAMETERS.get(name)
    return None if found is None else found[0 if lang.startswith("zh") else 1]

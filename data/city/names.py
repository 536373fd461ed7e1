"""Plausible names, in Chinese with a transcription; none of them is meant to be a real place or company."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["STEMS", "pairs", "place_names"]

#: Stems of place names and their transcription.
STEMS: tuple[tuple[str, str], ...] = (
    ("桃花", "Taohua"), ("绿萝", "Lüluo"), ("珍珠", "Zhenzhu"), ("石板", "Shiban"), ("杨岔", "Yangcha"), ("白龙", "Bailong"),
    ("云锦", "Yunjin"), ("锦江", "Jinjiang"), ("望江", "Wangjiang"), ("南湾", "Nanwan"), ("北苑", "Beiyuan"), ("梅子", "Meizi"),
    ("东山", "Dongshan"), ("青松", "Qingsong"), ("橘颂", "Jusong"), ("屈乡", "Quxiang"), ("香樟", "Xiangzhang"), ("金缕", "Jinlü"),
    ("明珠", "Mingzhu"), ("晓溪", "Xiaoxi"), ("丁家", "Dingjia"), ("罗河", "Luohe"), ("土门", "Tumen"), ("樵湖", "Qiaohu"),
    ("伍临", "Wulin"), ("胜利", "Shengli"), ("和平", "Heping"), ("光明", "Guangming"), ("朝阳", "Chaoyang"), ("清波", "Qingbo"),
    ("柏树", "Baishu"), ("柳林", "Liulin"), ("枫叶", "Fengye"), ("翠屏", "Cuiping"), ("玉泉", "Yuquan"), ("龙泉", "Longquan"),
    ("凤凰", "Fenghuang"), ("白鹭", "Bailu"), ("鹤鸣", "Heming"), ("大塘", "Datang"), ("小湾", "Xiaowan"), ("王家", "Wangjia"),
    ("李家", "Lijia"), ("陈家", "Chenjia"), ("艾家", "Aijia"), ("高坪", "Gaoping"), ("花溪", "Huaxi"), ("平湖", "Pinghu"),
    ("峡口", "Xiakou"), ("江南", "Jiangnan"), ("沙洲", "Shazhou"), ("黄龙", "Huanglong"), ("万寿", "Wanshou"), ("宝塔", "Baota"),
    ("共升", "Gongsheng"), ("合益", "Heyi"), ("民主", "Minzhu"), ("建设", "Jianshe"), ("滨湖", "Binhu"), ("灵宝", "Lingbao"),
)  # fmt: skip

_ENDINGS: tuple[tuple[str, str], ...] = (
    ("路", " Road"), ("坪", "ping"), ("溪", "xi"), ("湾", "wan"), ("桥", "qiao"), ("岗", "gang"), ("园", "yuan"), ("坡", "po"),
    ("门", "men"), ("塘", "tang"), ("岭", "ling"), ("巷", " Lane"),
)  # fmt: skip


def place_names(
    count: int, rng: np.random.Generator, *, suffix: str, suffix_en: str, plain: bool = False
) -> tuple[list[str], list[str]]:
    """``count`` different names such as 桃花坪社区 with their transcription."""
    stems = (
        [(zh, en) for zh, en in STEMS]
        if plain
        else [(zh + e, en + x) for zh, en in STEMS for e, x in _ENDINGS if not zh.endswith(e)]
    )
    order = rng.permutation(len(stems))
    zh, en = [], []
    for n in range(count):
        a, b = stems[order[n % len(stems)]]
        lap = n // len(stems)
        number = "" if lap == 0 else "二三四五六七八九"[min(lap - 1, 7)]
        zh.append(f"{a}{number}{suffix}")
        en.append(f"{b}{'' if lap == 0 else f' {lap + 1}'} {suffix_en}".strip())
    return zh, en


def pairs(
    options: tuple[tuple[str, str], ...], count: int, rng: np.random.Generator
) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    """Draw ``count`` pairs of texts with replacement, as two arrays."""
    pick = rng.integers(0, len(options), count)
    table = np.array(options, dtype=object)
    return table[pick, 0], table[pick, 1]

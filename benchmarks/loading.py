"""Loading: 60,000 cameras from CSV, and a million points from a GeoPackage beside ``ogr2ogr`` with COPY, in the same run.

``python -m benchmarks.loading [--points N] [--rounds N]``; needs PostGIS and ``ogr2ogr`` (package gdal-bin). A private cluster is made and
removed again. Times are of whole commands, from the start of the process to its end; the best of the rounds counts.
"""

import argparse
import csv
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import shapely
import sqlalchemy as sa

from layers.cluster import EmbeddedCluster
from layers.database import Database
from layers.declaration import read_declaration
from layers.migrate import upgrade
from layers.registry import add_layer

CAMERAS = 60_000
LAYER = """
name = "bench_point"
title_zh = "测点"
title_en = "Bench points"
geometry = "Point"
natural_keys = [["code"]]
[[fields]]
name = "code"
type = "code"
length = 20
pattern = "^[0-9]{20}$"
title_zh = "编码"
title_en = "Code"
[[fields]]
name = "count"
type = "int"
minimum = 0
title_zh = "数量"
title_en = "Count"
[[fields]]
name = "height_m"
type = "num"
minimum = 0
title_zh = "高度"
title_en = "Height"
[[fields]]
name = "kind"
type = "enum"
title_zh = "类"
title_en = "Kind"
domain = [{ value = "a", zh = "甲", en = "A" }, { value = "b", zh = "乙", en = "B" }, { value = "c", zh = "丙", en = "C" }]
"""
HEADERS = [
    "设备编码", "点位名称", "点位俗称", "经度", "纬度", "点位类型", "结构类型", "室内外", "补光", "监视方位", "方位角", "视场角", "可视距离",
    "像素宽",
    "安装高度（米）", "安装方式", "在线状态", "设备状态", "保存天数", "备案日期", "启用日期", "标识", "管理单位", "联系人", "联系电话", "IP地址",
    "区划代码", "备注",
]  # fmt: skip


def write_cameras(path: Path) -> None:
    """A register of cameras as an office exports it: GB18030, Chinese headers and terms, personal columns."""
    rng = np.random.default_rng(7)
    lon, lat = rng.uniform(110.5, 111.9, CAMERAS), rng.uniform(30.2, 31.4, CAMERAS)
    azimuth, distance, height = rng.uniform(0, 360, CAMERAS), rng.uniform(40, 150, CAMERAS), rng.uniform(3, 9, CAMERAS)
    with path.open("w", encoding="gb18030", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADERS)
        for i in range(CAMERAS):
            writer.writerow([
                f"42050200001310{i:06d}", f"西陵区{i % 160}社区{i}号", f"路口{i}", f"{lon[i]:.7f}", f"{lat[i]:.7f}", ("一类", "二类", "三类")[i % 3],
                ("球机", "枪机", "半球")[i % 3], "室外", "红外", "东西南北"[i % 4], f"{azimuth[i]:.1f}", 60, f"{distance[i]:.0f}", 1920,
                f"{height[i]:.1f}", "立杆", "离线" if i % 9 == 0 else "在线", "在用", 30, f"202{i % 5}-0{i % 9 + 1}-1{i % 9}",
                f"202{i % 5}年{i % 9 + 1}月1{i % 9}日", "是" if i % 2 else "否", f"宜昌市公安局西陵分局{i % 20}队", "某人", "13800138000",
                "10.1.2.3", "420502", "",
            ])  # fmt: skip


def write_points(path: Path, count: int) -> None:
    """Random points in the city with five attributes."""
    rng = np.random.default_rng(1)
    columns = pd.DataFrame({
        "code": [f"{i:020d}" for i in range(count)], "name_zh": [f"点位{i}" for i in range(count)], "count": rng.integers(0, 1000, count),
        "height_m": rng.uniform(0, 50, count), "kind": rng.choice(["a", "b", "c"], count),
    })  # fmt: skip
    places = shapely.points(rng.uniform(110.3, 112.0, count), rng.uniform(30.0, 31.5, count))
    pyogrio.write_dataframe(gpd.GeoDataFrame(columns, geometry=places, crs=4490), path, layer="points", use_arrow=True)


def timed(act: Callable[[], None]) -> float:
    """Seconds that ``act`` takes."""
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


class Bench:
    """A cluster, and the commands that are measured on it."""

    def __init__(self, folder: Path, cluster: EmbeddedCluster) -> None:
        self.folder = folder
        self.cluster = cluster
        self.database = Database(cluster.url())
        query = self.database.engine.url.query
        self.libpq = f"host={query['host']} port={query['port']} user={self.database.engine.url.username} dbname={self.database.engine.url.database}"

    def sql(self, *statements: str) -> list[tuple[object, ...]]:
        """Run statements, and return the rows of the last."""
        rows: list[tuple[object, ...]] = []
        with self.database.begin() as connection:
            for statement in statements:
                result = connection.execute(sa.text(statement))
                rows = [tuple(row) for row in result] if result.returns_rows else []
        return rows

    def load(self, layer: str, path: Path, *options: str) -> None:
        """``baige load`` as a command of its own."""
        environment = {
            **os.environ,
            "BAIGE_DATABASE_URL": self.database.engine.url.render_as_string(hide_password=False),
        }
        command = [sys.executable, "-m", "api.cli", "load", layer, str(path), *options]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)

    def ogr2ogr(self, path: Path) -> None:
        """The peer: its own new table with primary key and spatial index, rows by COPY."""
        command = [
            "ogr2ogr",
            "-f",
            "PostgreSQL",
            f"PG:{self.libpq}",
            str(path),
            "-nln",
            "public.peer",
            "--config",
            "PG_USE_COPY",
            "YES",
        ]
        subprocess.run(command, check=True, capture_output=True)

    def same_indexes(self) -> None:
        """The further indexes that the layer's table has, on the peer's."""
        found = self.sql("SELECT indexdef FROM pg_indexes WHERE schemaname = 'baige' AND tablename = 'bench_point'")
        self.sql(
            "ALTER TABLE peer ADD id uuid DEFAULT gen_random_uuid(), ADD admin_code varchar(12), ADD source_ref varchar(200)"
        )
        for (definition,) in found:
            if "gist" not in str(definition):
                self.sql(re.sub(r"INDEX \S+ ON \S+", "INDEX ON peer", str(definition)))

    def empty(self) -> None:
        """Make the point layer anew, and drop the peer's table."""
        from layers.registry import remove_layer

        self.sql("DROP TABLE IF EXISTS public.peer")
        if self.sql("SELECT 1 FROM baige_sys.layer WHERE name = 'bench_point'"):
            remove_layer(self.database, "bench_point", force=True)
        add_layer(self.database, read_declaration(LAYER))


def cameras(bench: Bench, rounds: int) -> list[tuple[str, float]]:
    """Cameras from CSV: the first load, and the same file again."""
    path = bench.folder / "cameras.csv"
    write_cameras(path)
    first, again = [], []
    for _ in range(rounds):
        bench.sql("DELETE FROM baige.camera_site")
        first.append(timed(lambda: bench.load("camera_site", path, "--crs", "gcj02")))
        assert bench.sql(
            "SELECT count(*), count(owner_org), count(filing_date), count(in_use_date) FROM baige.camera_site"
        ) == [(CAMERAS,) * 4]
        again.append(timed(lambda: bench.load("camera_site", path, "--crs", "gcj02")))
        assert bench.sql("SELECT inserted, updated FROM baige_sys.change_set ORDER BY id DESC LIMIT 1") == [(0, 0)]
    size = path.stat().st_size / 1e6
    return [
        (
            f"baige load: {CAMERAS} cameras, CSV of {size:.0f} MB, {len(HEADERS)} columns, GB18030, gcj02 (limit 5 s)",
            min(first),
        ),
        ("the same file again: nothing changes", min(again)),
    ]


def points(bench: Bench, count: int, rounds: int) -> list[tuple[str, float]]:
    """Points from a GeoPackage, and the peer."""
    path = bench.folder / "points.gpkg"
    write_points(path, count)
    ours, peer, indexes = [], [], []
    for _ in range(rounds):
        bench.empty()
        peer.append(timed(lambda: bench.ogr2ogr(path)))
        indexes.append(peer[-1] + timed(bench.same_indexes))
        ours.append(timed(lambda: bench.load("bench_point", path)))
        sums = (
            'count(*), sum("count"), round(sum(height_m)::numeric, 1), round(sum(ST_X(geom) + ST_Y(geom))::numeric, 1)'
        )
        assert bench.sql(f"SELECT {sums} FROM baige.bench_point") == bench.sql(f"SELECT {sums} FROM public.peer")
        assert bench.sql(
            "SELECT count(*) FROM baige.bench_point a JOIN public.peer b USING (code) WHERE a.geom = b.geom AND a.count = b.count"
        ) == [(count,)]
    return [
        (f"baige load: {count:,} points, GeoPackage, validated, 5 indexes", min(ours)),
        ("ogr2ogr, PG_USE_COPY=YES: 2 indexes (fid, geometry)", min(peer)),
        ("ogr2ogr, then the other indexes of the layer", min(indexes)),
        ("ratio to ogr2ogr with the same indexes (limit 1)", min(ours) / min(indexes)),
        ("ratio to ogr2ogr with its own two (limit 1)", min(ours) / min(peer)),
    ]


def main() -> None:
    """Run both and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="bgb-"))
    home.chmod(0o755)
    cluster = EmbeddedCluster(home)
    try:
        cluster.start()
        upgrade(cluster.url())
        bench = Bench(home, cluster)
        rows = cameras(bench, asked.rounds)
        if shutil.which("ogr2ogr"):
            rows += points(bench, asked.points, asked.rounds)
        else:
            print("ogr2ogr is missing: install gdal-bin", file=sys.stderr)
        for label, value in rows:
            print(f"| {label} | {value:.2f} |")
        bench.database.dispose()
    finally:
        cluster.destroy()
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()

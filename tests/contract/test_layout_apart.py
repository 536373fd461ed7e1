"""The check of a layout shares no code with its planner beyond geometry primitives."""

import ast
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
#: What both may use: errors, settings, how a layout is read, geometry of rings and roads, the database.
SHARED = {"gis.errors", "gis.settings", "gis.crs", "gis.ring", "gis.roadgraph", "grids.layout"}
CHECK = ("grids/layout_check.py", "grids/layout_judge.py", "grids/layout_ring.py", "grids/layout_faults.py", "gis/layoutcheck.py",
         "gis/layoutcheck_values.py")  # fmt: skip
PLAN = ("grids/layout_draw.py", "grids/layout_ground.py", "grids/layout_points.py", "grids/layout_ringline.py", "grids/layout_codes.py",
        "gis/partition.py", "gis/partition_blocks.py", "gis/partition_graph.py", "gis/partition_kernels.py", "gis/partition_search.py",
        "gis/partition_shape.py", "gis/gridcodes.py")  # fmt: skip


def imported(path: str) -> set[str]:
    tree = ast.parse((REPOSITORY / path).read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if (REPOSITORY / f"{name.replace('.', '/')}.py").is_file()}


def module(path: str) -> str:
    return path.removesuffix(".py").replace("/", ".")


def test_check_and_planner_share_geometry_only() -> None:
    check, plan = {module(p) for p in CHECK}, {module(p) for p in PLAN}
    used_by_check = set().union(*(imported(p) for p in CHECK))
    used_by_plan = set().union(*(imported(p) for p in PLAN))
    assert not used_by_check & plan
    assert not used_by_plan & check
    ours = {name for name in used_by_check & used_by_plan if name.startswith(("gis.", "grids."))}
    assert ours <= SHARED, ours - SHARED


def test_the_planner_runs_the_check_but_draws_without_it() -> None:
    used = imported("grids/layout_plan.py")
    assert {name for name in used if "check" in name} == {"grids.layout_check"}  # to check what was stored

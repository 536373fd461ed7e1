"""Coverage-guided fuzzing of the doors in `tests/unit/layers/doors.py`, by atheris (not one of our dependencies; see ``scripts/fuzz_guided.sh``).

``python tests/reliability/guided.py DOOR SECONDS FOLDER``: begins with the seeds and what FOLDER holds from before, adds what reaches new code.
The first input that raises something else than an error of ours ends it; it lies in the folder as ``crash-…``, to be mended and kept under
``tests/unit/layers/found``.
"""

import contextlib
import sys
from pathlib import Path

import atheris

sys.path[:0] = [str(ROOT := Path(__file__).resolve().parents[2]), str(ROOT / "tests" / "unit" / "layers")]
with atheris.instrument_imports(include=["api", "gis", "layers", "pygeofilter", "lark"]):
    from doors import DOORS, SEEDS

    from gis.errors import BaigeError

    for seed in SEEDS[sys.argv[1]]:  # what is imported only when needed is imported now, to be watched too
        with contextlib.suppress(BaigeError):
            DOORS[sys.argv[1]](seed)


def main() -> None:
    """Search."""
    door, seconds, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3]) / sys.argv[1]
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[door]):
        (folder / f"seed-{number}").write_bytes(seed)
    call = DOORS[door]

    def once(data: bytes) -> None:
        with contextlib.suppress(BaigeError):
            call(data)

    options = [f"-max_total_time={seconds}", "-max_len=400", "-timeout=10", "-rss_limit_mb=3000", f"-artifact_prefix={folder}/"]
    atheris.Setup([sys.argv[0], *options, str(folder)], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

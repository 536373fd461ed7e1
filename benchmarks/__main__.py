"""Run all benchmarks, one after the other, each in a process of its own: ``python -m benchmarks [name …]``."""

import subprocess
import sys
import time
from pathlib import Path

NAMES = ("loading", "load_osm", "visibility", "coverage", "siting", "partition", "rules", "api", "partitions", "load")


def main() -> None:
    """Exit with the number of benchmarks that failed (an answer was wrong, or a tool was missing)."""
    asked = sys.argv[1:] or list(NAMES)
    unknown = [name for name in asked if name not in NAMES]
    if unknown:
        sys.exit(f"no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}")
    failed = []
    for name in asked:
        print(f"\n== {name}", flush=True)
        begun = time.monotonic()
        code = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{name}"], cwd=Path(__file__).parent.parent, check=False
        ).returncode
        print(
            f"== {name}: {'done' if code == 0 else f'failed ({code})'} in {time.monotonic() - begun:.0f} s", flush=True
        )
        if code:
            failed.append(name)
    sys.exit(len(failed))


if __name__ == "__main__":
    main()

"""Processor time of whole programs, by /proc: a figure that other work on the same machine does not touch."""

import os
from pathlib import Path

__all__ = ["parent_of", "spent_s"]


def _stat(pid: int) -> tuple[int, float] | None:
    """Parent and seconds of a process, those of its ended children among them."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return int(fields[1]), sum(int(fields[i]) for i in (11, 12, 13, 14)) / os.sysconf("SC_CLK_TCK")


def parent_of(pid: int) -> int:
    """The process that started another of this machine."""
    found = _stat(pid)
    if found is None:
        raise ProcessLookupError(pid)
    return found[0]


def spent_s(*roots: int) -> float:
    """Seconds that these processes and all below them have had of the processors so far."""
    known = {int(p.name): found for p in Path("/proc").iterdir() if p.name.isdigit() and (found := _stat(int(p.name)))}
    below = set(roots)
    while True:
        more = {pid for pid, (parent, _) in known.items() if parent in below} - below
        if not more:
            return sum(known[pid][1] for pid in below if pid in known)
        below |= more

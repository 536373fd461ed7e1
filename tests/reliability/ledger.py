"""What clients were told: every write with its answer, so that the database can be asked whether it kept its word."""

import threading
import uuid
from dataclasses import dataclass, field

__all__ = ["Feature", "Ledger", "Load"]


@dataclass
class Feature:
    """A feature that one client alone writes.

    ``known`` is the content that was last acknowledged (None: it is not there); ``open`` holds contents of writes whose answer never came:
    each of them may or may not have happened, in their order.
    """

    id: uuid.UUID
    known: int | None = None
    open: list[int | None] = field(default_factory=list)
    versions: int = 0

    def acknowledged(self, content: int | None) -> None:
        self.known, self.open = content, []
        self.versions += 1

    def allowed(self) -> set[int | None]:
        return {self.known, *self.open}


@dataclass
class Load:
    """A file given to a loader: its rows, how many of them are faulty, and whether the loader said that it was done."""

    batch: str
    good: int
    bad: int
    direct: bool
    done: bool = False
    ended: bool = False


@dataclass
class Ledger:
    """All of it."""

    features: dict[uuid.UUID, Feature] = field(default_factory=dict)
    loads: list[Load] = field(default_factory=list)
    jobs: dict[str, str] = field(default_factory=dict)
    jobs_open: int = 0
    writes_acknowledged: int = 0
    writes_open: int = 0
    conflicts: int = 0
    reads: int = 0
    unavailable: int = 0
    broken: int = 0
    unexpected: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def wrong(self, text: str) -> None:
        with self.lock:
            self.unexpected.append(text)

    def count(self, name: str, by: int = 1) -> None:
        with self.lock:
            setattr(self, name, getattr(self, name) + by)

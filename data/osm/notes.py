"""What an adapter noticed while it read a source: nothing is swallowed, everything is counted."""

from collections import Counter
from dataclasses import dataclass, field

__all__ = ["Notes"]

_VALUE_SHOWN = 60


@dataclass
class Notes:
    """Counts of what was not understood, not taken, or dropped.

    Attributes
    ----------
    unknown : Counter of (layer, key, value)
        Tag values that have no meaning for the layer; the feature is loaded without them.
    skipped : Counter of (layer, reason)
        Objects that were not loaded.
    personal : Counter of str
        Keys that may describe a person, and were dropped before anything else saw them.
    remarks : Counter of (layer, remark)
        Other things worth knowing.
    """

    unknown: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    skipped: Counter[tuple[str, str]] = field(default_factory=Counter)
    personal: Counter[str] = field(default_factory=Counter)
    remarks: Counter[tuple[str, str]] = field(default_factory=Counter)

    def unknown_value(self, layer: str, key: str, value: str) -> None:
        """Count a value that was not understood."""
        self.unknown[layer, key, value[:_VALUE_SHOWN]] += 1

    def skip(self, layer: str, reason: str) -> None:
        """Count an object that is not loaded."""
        self.skipped[layer, reason] += 1

    def remark(self, layer: str, text: str) -> None:
        """Count anything else."""
        self.remarks[layer, text] += 1

    def as_dict(self) -> dict[str, object]:
        """For reports in JSON: lists, the most frequent first."""
        return {
            "unknown_values": [
                {"layer": la, "key": k, "value": v, "count": n} for (la, k, v), n in self.unknown.most_common()
            ],
            "skipped": [{"layer": la, "reason": r, "count": n} for (la, r), n in self.skipped.most_common()],
            "personal_tags_dropped": dict(self.personal.most_common()),
            "remarks": [{"layer": la, "remark": r, "count": n} for (la, r), n in self.remarks.most_common()],
        }

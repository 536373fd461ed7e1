"""A piece of SQL with the values bound to it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Fragment", "join"]


@dataclass(frozen=True, slots=True)
class Fragment:
    """SQL text with ``%s`` placeholders, and their values in order.

    Names that stand in ``text`` come from declarations (lower-case letters, digits, ``_``), never from a request; everything that a
    request brings is in ``params``.

    Examples
    --------
    >>> Fragment("a = %s", (1,)) & Fragment("b = %s", (2,))
    Fragment(text='(a = %s) AND (b = %s)', params=(1, 2))
    """

    text: str
    params: tuple[Any, ...] = ()

    def __and__(self, other: "Fragment") -> "Fragment":
        return Fragment(f"({self.text}) AND ({other.text})", self.params + other.params)

    def __add__(self, other: "Fragment | str") -> "Fragment":
        if isinstance(other, str):
            return Fragment(self.text + other, self.params)
        return Fragment(self.text + other.text, self.params + other.params)


def join(parts: Iterable[Fragment], separator: str, *, empty: str = "") -> Fragment:
    """Put fragments one after the other with ``separator`` between; ``empty`` where there are none."""
    found: Sequence[Fragment] = list(parts)
    if not found:
        return Fragment(empty)
    return Fragment(separator.join(p.text for p in found), tuple(value for p in found for value in p.params))

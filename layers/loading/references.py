"""Whom the values of a ``ref`` field mean: a feature's id, its key or its name."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from layers.declaration import LayerDeclaration
from layers.loading.arrays import mask_array, mask_of, values_array
from layers.loading.converting import Converted, spelling
from layers.loading.identifiers import uuid_bytes

__all__ = ["References", "references_to"]


@dataclass
class References:
    """Words for features: ids first, then keys, then names; a name of several features means none of them."""

    ids: set[bytes] = field(default_factory=set)
    keys: dict[str, bytes | None] = field(default_factory=dict)
    names: dict[str, bytes | None] = field(default_factory=dict)
    stored_keys: frozenset[str] = frozenset()
    stored_names: frozenset[str] = frozenset()

    def add(self, identifier: bytes, keys: Iterable[object], names: Iterable[object]) -> None:
        """Make a feature known under its keys and names."""
        self.ids.add(identifier)
        for words, table in ((keys, self.keys), (names, self.names)):
            for word in words:
                if word is None or word == "":
                    continue
                folded = spelling(str(word))
                table[folded] = identifier if table.get(folded, identifier) == identifier else None

    def add_own(self, identifier: bytes, keys: Iterable[object], names: Iterable[object]) -> None:
        """Make a row of the file itself known, under words that no stored feature has."""
        new = References()
        new.add(identifier, keys, names)
        self.ids.add(identifier)
        for table, more, before in (
            (self.keys, new.keys, self.stored_keys),
            (self.names, new.names, self.stored_names),
        ):
            for word, meant in more.items():
                if word in before:
                    continue
                table[word] = meant if table.get(word, meant) == meant else None

    def seal(self) -> None:
        """Remember which words stored features have, before rows of the file are added."""
        self.stored_keys, self.stored_names = frozenset(self.keys), frozenset(self.names)

    def find(self, word: str) -> bytes | str:
        """The id meant, or the code of the reason why none."""
        given = uuid_bytes(word) if len(word) >= 32 else None
        if given is not None and given in self.ids:
            return given
        folded = spelling(word)
        for table in (self.keys, self.names):
            if folded in table:
                return table[folded] or "ref_ambiguous"
        return "ref_unknown"

    def resolve(self, text: Converted) -> Converted:
        """A column of words to a column of ids."""
        encoded = text.values.dictionary_encode()
        found = [self.find(word) for word in encoded.dictionary.to_pylist()]
        out = Converted(
            values_array([f if isinstance(f, bytes) else None for f in found], pa.binary(16)).take(encoded.indices),
            dict(text.faults),
        )
        for code in ("ref_unknown", "ref_ambiguous"):
            out.mark(code, mask_of(mask_array(np.array([f == code for f in found], dtype=bool)).take(encoded.indices)))
        return out


def key_fields(declaration: LayerDeclaration) -> list[str]:
    """Fields whose value can stand for a feature: parts of its natural keys, and its identifier in the source."""
    plain = {f.name for f in declaration.all_fields if f.type in ("text", "code")}
    return list(
        dict.fromkeys(part for key in declaration.update_keys for part in key if part in plain and part != "source_org")
    )


def references_to(connection: Connection, declaration: LayerDeclaration) -> References:
    """All features of a layer that the transaction's role may see, under their keys and names."""
    keys = key_fields(declaration)
    listed = ", ".join(f'"{name}"' for name in [*keys, "name_zh", "name_en"])
    out = References()
    # For this statement only: set on the connection, it would turn every later statement into a cursor's.
    result = connection.execute(
        sa.text(f'SELECT id, {listed} FROM baige."{declaration.name}"'), execution_options={"yield_per": 10_000}
    )
    for identifier, *words in result:
        out.add(identifier.bytes, words[: len(keys)], words[len(keys) :])
    out.seal()
    return out


def words_of(row: Mapping[str, object], declaration: LayerDeclaration) -> tuple[list[object], list[object]]:
    """Keys and names of a row that is itself being loaded."""
    return [row.get(name) for name in key_fields(declaration)], [row.get("name_zh"), row.get("name_en")]

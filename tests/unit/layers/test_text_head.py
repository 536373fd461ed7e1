"""The head of a large text table is read in a piece; a character that the piece cuts in two is no error."""

from pathlib import Path

import pytest

from layers.catalogue import built_in
from layers.loading.options import LoadOptions
from layers.loading.readers.text import TextSource


@pytest.mark.parametrize("shift", range(3))
def test_a_character_at_the_edge_of_the_piece(tmp_path: Path, shift: int) -> None:
    path = tmp_path / "long.csv"
    line = "长" * 300 + "\n"
    path.write_text("名称" + "a" * shift + ",值\n" + line.replace("\n", ",1\n") * 10_500, encoding="utf-8")
    assert path.stat().st_size > 9_000_000
    source = TextSource(path, options=LoadOptions(crs="4490"), declaration=built_in()["place"])
    assert list(source.headers) == ["名称" + "a" * shift, "值"]
    assert sum(len(chunk) for chunk in source.chunks()) == 10_500

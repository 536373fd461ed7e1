"""Progress where nobody sees a bar: a job reads it line by line."""

import io

from rich.console import Console

from api.cli.context import AppContext
from gis.settings import Settings


def test_progress_is_told_before_the_end() -> None:
    out = io.StringIO()
    app = AppContext(Settings(), console=Console(file=out, width=120))
    with app.progress() as bar:
        task = bar.add_task("lines of sight", total=12)
        bar._told = 0.0  # as if nothing had been said for long
        bar.update(task, completed=3, total=12)
        assert out.getvalue().splitlines() == ["lines of sight 3/12"]
        bar._told = 0.0
        bar.advance(task)
        assert out.getvalue().splitlines()[-1] == "lines of sight 4/12"
        bar._told = float("inf")
        bar.update(task, completed=12)
        assert len(out.getvalue().splitlines()) == 2
    assert "12/12" in out.getvalue()

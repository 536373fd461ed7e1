"""Execute ``coverage.ipynb`` against the database of the environment and keep what its cells print: ``python examples/build.py``."""

import ast
import contextlib
import io
import json
from pathlib import Path
from typing import Any

NOTEBOOK = Path(__file__).resolve().parent / "coverage.ipynb"


def execute(notebook: dict[str, Any], namespace: dict[str, Any]) -> None:
    """Run the code cells one after the other, each with its output, as Jupyter does; pictures and pages are not kept."""
    number = 0
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        number += 1
        tree = ast.parse("".join(cell["source"]))
        last = ast.Expression(tree.body.pop().value) if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(tree, f"cell {number}", "exec"), namespace)
            value = eval(compile(last, f"cell {number}", "eval"), namespace) if last is not None else None
        outputs: list[dict[str, Any]] = []
        if printed.getvalue():
            outputs.append(
                {"output_type": "stream", "name": "stdout", "text": printed.getvalue().splitlines(keepends=True)}
            )
        if value is not None:
            text = repr(value) if len(repr(value)) < 5000 else f"<{type(value).__module__}.{type(value).__name__}>"
            data = {"text/plain": text.splitlines(keepends=True)}
            outputs.append({"output_type": "execute_result", "execution_count": number, "metadata": {}, "data": data})
        cell["execution_count"], cell["outputs"] = number, outputs


def main() -> None:
    """Execute and write it back."""
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    execute(notebook, {})
    NOTEBOOK.write_text(json.dumps(notebook, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

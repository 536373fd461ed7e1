"""The tables of ``docs/configuration.md``, made from the settings themselves: ``python -m api.configuration docs/configuration.md``."""

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import annotated_types
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

__all__ = ["render_tables"]

_PLACE = re.compile(r"(<!-- made from (\S+) by make docs -->\n).*?(<!-- end -->)", re.DOTALL)
_HEAD = "| variable | default | allowed | meaning |\n|---|---|---|---|\n"


def _default(field: FieldInfo) -> str:
    value: Any = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is None:
        return "unset"
    if value == "":
        return "empty"
    if isinstance(value, dict | list):
        return f"`{json.dumps(value)}`"
    return f"`{int(value) if isinstance(value, float) and value.is_integer() else value}`"


def _allowed(field: FieldInfo) -> str:
    """What a value may be, where it is more than a text or a number."""
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(field.annotation))
    parts: list[str] = []
    for rule in field.metadata:
        if isinstance(rule, annotated_types.Gt):
            parts.append(f"above {rule.gt}")
        elif isinstance(rule, annotated_types.Ge):
            parts.append(f"from {rule.ge}")
        elif isinstance(rule, annotated_types.Le):
            parts.append(f"to {rule.le}")
        elif pattern := getattr(rule, "pattern", None):
            parts.append(f"`{pattern}`")
    return " ".join(parts)


def _rows(kind: type[BaseSettings]) -> Iterator[str]:
    prefix = kind.model_config.get("env_prefix", "")
    for name, field in kind.model_fields.items():
        cells = (f"`{(prefix + name).upper()}`", _default(field), _allowed(field), field.description or "")
        yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |\n"


def render_tables(text: str) -> str:
    """A page with its tables of settings made anew; all else stays.

    Parameters
    ----------
    text : str
        Markdown; a table stands between ``<!-- made from module.Class by make docs -->`` and ``<!-- end -->``.
    """

    def table(found: re.Match[str]) -> str:
        module, _, name = found[2].rpartition(".")
        return found[1] + _HEAD + "".join(_rows(getattr(importlib.import_module(module), name))) + found[3]

    return _PLACE.sub(table, text)


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(render_tables(page.read_text(encoding="utf-8")), encoding="utf-8")

"""The page ``docs/layers.md``, written from the declarations: ``python -m layers.catalogue.reference > docs/layers.md``."""

import sys
from collections.abc import Iterable

from layers.catalogue import built_in
from layers.declaration import COMMON_FIELDS, FieldDeclaration, LayerDeclaration

__all__ = ["reference_page"]

_INTRODUCTION = """\
# Layers

This page is written from the declarations in `layers/catalogue/`; change those, then run
`python -m layers.catalogue.reference > docs/layers.md`. A layer is a table of its name in the schema `baige`, an OGC API
collection of its name, and a style. To add one of your own, write the same kind of file and give it to `baige layer add`.

Every layer has `id` (UUID), `geom` unless its geometry is `none`, and the [common attributes](#common-attributes).
Results of an analysis carry the attribute `run_id` too. Camera and person data that would identify people have no place in
any layer: loading drops such columns and names them.
"""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _type(field: FieldDeclaration) -> str:
    if field.type == "code":
        return f"code, {field.length} characters"
    if field.type == "ref":
        return f"reference to [{field.references}](#{field.references})"
    if field.type == "geometry":
        return str(field.geometry)
    return field.type + (f", {field.unit}" if field.unit else "")


def _values(field: FieldDeclaration) -> str:
    said = [f"`{term.value}` {term.zh} / {term.en}" for term in field.domain]
    if field.pattern:
        said.append(f"pattern `{field.pattern}`")
    if field.minimum is not None or field.maximum is not None:
        low = "" if field.minimum is None else f"{field.minimum:g}"
        high = "" if field.maximum is None else f"{field.maximum:g}"
        said.append(f"{low}…{high}")
    if field.description_zh or field.description_en:
        said.append(f"{field.description_zh} / {field.description_en}")
    if field.hidden_from:
        said.append("hidden from " + ", ".join(field.hidden_from))
    return _cell("; ".join(said))


def _table(fields: Iterable[FieldDeclaration]) -> list[str]:
    lines = ["| attribute | 中文 | English | type | values |", "|---|---|---|---|---|"]
    for field in fields:
        name = f"`{field.name}`" + (" *" if field.required else "")
        lines.append(f"| {name} | {_cell(field.title_zh)} | {_cell(field.title_en)} | {_type(field)} | {_values(field)} |")
    return lines


def _section(layer: LayerDeclaration) -> list[str]:
    keys = " or ".join("`" + ", ".join(key) + "`" for key in layer.update_keys) or "none (each run writes its own)"
    lines = [
        f"## {layer.name}",
        "",
        f"{layer.title_zh} / {layer.title_en}. {layer.description_zh} {layer.description_en}",
        "",
        f"Geometry {layer.geometry}; {layer.kind}; {layer.classification}; theme {layer.theme}; same feature when equal: {keys}.",
        "",
    ]
    for role, names in sorted(layer.hidden.items()):
        lines[-1:] = ["", f"Hidden from {role}: {', '.join(f'`{name}`' for name in names)}.", ""]
    return [*lines, *(_table(layer.fields) if layer.fields else ["No attributes of its own."]), ""]


def reference_page() -> str:
    """The whole page as Markdown."""
    layers = built_in()
    lines = [_INTRODUCTION, "Attributes marked * are required.", "", "| layer | 中文 | English | geometry | class |", "|---|---|---|---|---|"]
    lines += [f"| [{d.name}](#{d.name}) | {d.title_zh} | {d.title_en} | {d.geometry} | {d.classification} |" for d in layers.values()]
    lines += ["", "## Common attributes", "", *_table(COMMON_FIELDS), ""]
    for layer in layers.values():
        lines += _section(layer)
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    sys.stdout.write(reference_page())

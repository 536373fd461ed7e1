"""``baige layer``: list, show, add and remove layers."""

import json
from pathlib import Path

import click
import sqlalchemy as sa

from api.cli.context import AppContext, pass_app
from layers.declaration import read_declaration
from layers.registry import add_layer, catalogue, declaration_of, remove_layer

__all__ = ["command"]


@click.group()
def command() -> None:
    """List, show, add and remove layers. 图层的查看、添加与删除。"""


@command.command("list")
@pass_app
def list_(app: AppContext) -> None:
    """All layers of the database with the number of their features. 列出全部图层及要素数。"""
    database = app.database()
    rows = []
    with database.begin(readonly=True, snapshot=True) as connection:
        counters = {
            name: (own, at)
            for name, own, at in connection.execute(sa.text("SELECT name, built_in, changed_at FROM baige_sys.layer"))
        }
        for name, declaration in catalogue(connection).items():
            count = connection.exec_driver_sql(f'SELECT count(*) FROM baige."{name}"').scalar_one()
            own, changed_at = counters[name]
            rows.append(
                {
                    "name": name,
                    "title": declaration.title(app.lang),
                    "theme": declaration.theme,
                    "kind": declaration.kind,
                    "geometry": declaration.geometry,
                    "classification": declaration.classification,
                    "built_in": own,
                    "features": count,
                    "changed_at": changed_at,
                }
            )
    width = max(len(str(row["name"])) for row in rows)
    app.emit(rows, "\n".join(f"{row['name']:<{width}}  {row['features']:>9,}  {row['title']}" for row in rows))


@command.command()
@click.argument("layer")
@pass_app
def show(app: AppContext, layer: str) -> None:
    """The declaration of LAYER: fields, domains, keys. 显示图层定义。"""
    with app.database().begin(readonly=True) as connection:
        declaration = declaration_of(connection, layer)
    lines = [
        f"{declaration.name}  {declaration.title(app.lang)}  ({declaration.geometry}, {declaration.kind}, {declaration.classification})"
    ]
    for field in declaration.all_fields:
        notes = [field.unit] if field.unit else []
        notes += [app.text("required", "必填")] if field.required else []
        notes += [f"→ {field.references}"] if field.references else []
        notes += (
            [", ".join(f"{term.value}={term.zh if app.lang == 'zh' else term.en}" for term in field.domain)]
            if field.domain
            else []
        )
        lines.append(f"  {field.name:<22} {field.type:<9} {field.title(app.lang)}  {'; '.join(notes)}".rstrip())
    app.emit(json.loads(declaration.model_dump_json()), "\n".join(lines))


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
@pass_app
def add(app: AppContext, file: Path) -> None:
    """Add the layer that the declaration FILE (TOML) describes. 按声明文件（TOML）添加图层。"""
    declaration = read_declaration(file)
    add_layer(app.database(), declaration)
    app.emit(
        {"added": declaration.name},
        app.text(f"Layer {declaration.name} is ready.", f"图层 {declaration.name} 已就绪。"),
    )


@command.command()
@click.argument("layer")
@click.option("--by-digits", "digits", type=click.Choice(["4", "6"]), default="6", show_default=True,
              help="Digits of the code: 4 for cities, 6 for districts. 区划代码位数：4 为地市，6 为区县。")  # fmt: skip
@pass_app
def partition(app: AppContext, layer: str, digits: str) -> None:
    """Put a large LAYER into partitions by administrative code. 按行政区划代码对大图层分区。

    Questions about one district then read the rows of that district only. Others wait while it lasts. Called again it makes partitions for codes
    that came since. 期间其他操作等待；有新区划代码后可再次执行。
    """
    from layers.partitions import partition_layer

    done = partition_layer(app.database(), layer, digits=int(digits))
    app.emit(
        {"layer": layer, "partitions": list(done.parts), "features": done.features},
        app.text(
            f"{layer}: {done.features:,} features in {len(done.parts)} partitions, and one for the rest.",
            f"{layer}：{done.features:,} 个要素，{len(done.parts)} 个分区，另有一个其余分区。",
        ),
    )


@command.command()
@click.argument("layer")
@pass_app
def merge(app: AppContext, layer: str) -> None:
    """Take LAYER out of its partitions. 取消图层分区。"""
    from layers.partitions import merge_layer

    done = merge_layer(app.database(), layer)
    app.emit(
        {"layer": layer, "features": done.features},
        app.text(f"{layer}: {done.features:,} features in one table again.", f"{layer}：{done.features:,} 个要素已合并为一张表。"),
    )


@command.command()
@click.argument("layer")
@click.option("--force", is_flag=True, help="Even when it has features. 即使有要素也删除。")
@pass_app
def remove(app: AppContext, layer: str, force: bool) -> None:
    """Take the user's layer LAYER away, with its history. 删除用户图层及其历史。"""
    features = remove_layer(app.database(), layer, force=force)
    app.emit(
        {"removed": layer, "features": features},
        app.text(f"Layer {layer} with {features} features is gone.", f"图层 {layer} 及其 {features} 个要素已删除。"),
    )

"""``baige audit``: who changed what, and who read what is restricted."""

from datetime import datetime
from pathlib import Path

import click

from api.cli.context import AppContext, pass_app
from gis.errors import InputError

__all__ = ["command"]


@click.group()
def command() -> None:
    """The audit of changes and of reads of restricted layers. 审计记录。"""


@command.command()
@click.option(
    "--head",
    "head_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A head kept elsewhere (baige audit head). 另存的链头文件。",
)
@click.pass_context
@pass_app
def verify(app: AppContext, context: click.Context, head_file: Path | None) -> None:
    """Compute the chain of hashes again; exit code 1 where it does not hold. 重新计算哈希链，不符时退出码为 1。"""
    from layers.audit import read_head, seal
    from layers.audit import verify as check

    try:
        kept = read_head(head_file.read_text(encoding="utf-8")) if head_file else None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("The file of the head cannot be read.", zh="无法读取链头文件。") from error
    database = app.database(pool_size=1)
    with database.begin() as connection:
        seal(connection)
    with database.begin(readonly=True, snapshot=True) as connection:
        verdict = check(connection, kept=kept)
    zh = app.lang.startswith("zh")
    lines = [f"{fault.seq}: {fault.zh if zh else fault.en}" for fault in verdict.faults]
    lines.append(
        app.text(
            f"{verdict.entries} entries, {len(verdict.faults)} faults; head {verdict.head}",
            f"{verdict.entries} 条，{len(verdict.faults)} 处不符；链头 {verdict.head}",
        )
    )
    faults = [{"seq": fault.seq, "en": fault.en, "zh": fault.zh} for fault in verdict.faults]
    app.emit(
        {"entries": verdict.entries, "head": str(verdict.head) if verdict.head else None, "faults": faults},
        "\n".join(lines),
    )
    if verdict.faults:
        context.exit(1)


@command.command()
@pass_app
def head(app: AppContext) -> None:
    """The end of the chain, to be kept (and signed) elsewhere: it proves all before it. 输出链头，供异地保存或签名。"""
    from layers.audit import head as last
    from layers.audit import seal

    with app.database(pool_size=1).begin() as connection:
        seal(connection)
        found = last(connection)
    app.emit({"head": str(found) if found else None}, str(found) if found else "")


@command.command()
@click.option("--layer", help="Only of this layer. 图层。")
@click.option("--actor", help="Only of this key. 密钥编号。")
@click.option("--kind", type=click.Choice(["change", "read"]), help="Only changes, or only reads. 变更或读取。")
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="Since this day. 起始日期。")
@click.option(
    "--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="How many, the newest first. 条数。"
)
@pass_app
def show(
    app: AppContext, layer: str | None, actor: str | None, kind: str | None, since: datetime | None, limit: int
) -> None:
    """The newest entries; --json has the rows before and after. 列出最近的记录。"""
    from layers.audit import entries

    if layer is not None and not layer.replace("_", "").isalnum():
        raise InputError("--layer: the name of a layer.", zh="--layer 应为图层名。")
    with app.database(pool_size=1).begin(readonly=True) as connection:
        found = entries(connection, layer=layer, actor=actor, kind=kind, since=since, limit=limit)
    lines = []
    for entry in found:
        detail = entry["detail"]
        said = (
            detail.get("action", "") + f" +{detail['inserted']} ~{detail['updated']} -{detail['deleted']}"
            if entry["kind"] == "change"
            else ""
        )
        said = said or f"{detail.get('asked', '')} → {detail.get('rows', '')}"
        when = f"{entry['at']:%Y-%m-%d %H:%M:%S}"
        lines.append(
            f"{entry['seq'] or '-':>8}  {when}  {entry['kind']:<6} {entry['layer']:<20} {entry['actor']:<14} {said}"
        )
    app.emit(found, "\n".join(lines))

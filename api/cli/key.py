"""``baige key``: access keys of the server."""

from datetime import datetime

import click
import sqlalchemy as sa

from api.cli.context import AppContext, pass_app
from gis.errors import InputError, NotFound

__all__ = ["command"]

_ROLES = ["viewer", "officer", "planner", "admin"]


@click.group()
def command() -> None:
    """Access keys of the server. 访问密钥。"""


@command.command()
@click.option("--role", type=click.Choice(_ROLES), required=True, help="What the key may do. 角色。")
@click.option("--district", default="", help="Prefix of administrative codes that it is for; all without it. 行政区划代码前缀。")
@click.option("--expires", type=click.DateTime(["%Y-%m-%d"]), default=None, help="Last day. 有效期至。")
@click.option("--note", default=None, help="Which office it is for; no person's name. 用途（单位），不填个人。")
@pass_app
def add(app: AppContext, role: str, district: str, expires: datetime | None, note: str | None) -> None:
    """Make a key. It is shown once and kept nowhere. 创建密钥，只显示一次。"""
    from api.access import hash_secret, new_key

    if district and not (district.isdigit() and 2 <= len(district) <= 12):
        raise InputError("--district: 2 to 12 digits.", zh="--district 应为 2 至 12 位数字。")
    key_id, key = new_key()
    with app.database(pool_size=1).begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO baige_sys.api_key (id, secret_sha256, role, district, note, expires_at)"
                " VALUES (:id, :secret, :role, :district, :note, cast(:expires AS timestamptz) + interval '1 day')"
            ),
            {"id": key_id, "secret": hash_secret(key), "role": role, "district": district, "note": note, "expires": expires},
        )
    app.emit({"id": key_id, "role": role, "district": district, "key": key}, key)


@command.command("list")
@pass_app
def list_(app: AppContext) -> None:
    """The keys, without their secrets. 列出密钥。"""
    with app.database(pool_size=1).begin(readonly=True) as connection:
        rows = connection.execute(
            sa.text("SELECT id, role, district, note, created_at, expires_at, revoked_at FROM baige_sys.api_key ORDER BY created_at")
        ).mappings()
        keys = [dict(row) for row in rows]
    lines = [f"{k['id']}  {k['role']:<8} {k['district'] or '-':<12} {'revoked' if k['revoked_at'] else 'active'}  {k['note'] or ''}" for k in keys]
    app.emit(keys, "\n".join(lines))


@command.command()
@click.argument("key_id")
@pass_app
def revoke(app: AppContext, key_id: str) -> None:
    """Revoke a key, at once. 立即吊销密钥。"""
    with app.database(pool_size=1).begin() as connection:
        done = connection.execute(
            sa.text("UPDATE baige_sys.api_key SET revoked_at = now() WHERE id = :id AND revoked_at IS NULL RETURNING id"), {"id": key_id}
        ).scalar()
    if done is None:
        raise NotFound(f"There is no active key {key_id!r}.", zh=f"没有有效密钥 {key_id!r}。")
    app.say(f"Key {key_id} is revoked.", f"密钥 {key_id} 已吊销。")

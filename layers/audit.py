"""The audit: who changed what, and who read what is restricted; an append-only table in a chain of hashes (`layers/sql/audit.sql`).

Each hash is SHA-256 over the hash before it and the entry as JSON. A changed, missing or moved entry breaks the chain at its place. An end
that was cut off leaves a shorter chain that is whole: that is seen by a head kept elsewhere, and by change sets without an entry.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gis.errors import InputError

__all__ = ["Fault", "Head", "Verdict", "entries", "head", "read_head", "seal", "verify"]

_HEAD = re.compile(r"^([0-9]{1,18}) ([0-9a-f]{64})\b")
_FAULTS_MOST = 100


@dataclass(frozen=True)
class Head:
    """The end of the chain: number and hash of its last entry. Whoever keeps it elsewhere can prove the chain up to there."""

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq} {self.hash}"


@dataclass(frozen=True)
class Fault:
    """What is wrong, and at which number of the chain."""

    seq: int
    en: str
    zh: str


@dataclass
class Verdict:
    """What a check of the whole chain came to."""

    entries: int = 0
    head: Head | None = None
    faults: list[Fault] = field(default_factory=list)

    def fault(self, seq: int, en: str, zh: str) -> None:
        """Note a fault; beyond a hundred they are no longer noted one by one."""
        if len(self.faults) < _FAULTS_MOST:
            self.faults.append(Fault(seq, en, zh))


def seal(connection: Connection) -> int:
    """Chain the entries that are not yet; returns how many there were. Somebody else may be at it: then none."""
    return int(connection.execute(sa.text("SELECT baige_sys.audit_seal()")).scalar_one())


def read_head(text: str) -> Head:
    """Read a head as `Head` writes it.

    Raises
    ------
    InputError
        It is none.
    """
    found = _HEAD.match(text.strip())
    if found is None:
        raise InputError("A head is a number and 64 hexadecimal digits.", zh="链头应为序号加 64 位十六进制数。")
    return Head(int(found[1]), found[2])


def head(connection: Connection) -> Head | None:
    """The end of the chain; None while there is no entry."""
    row = connection.execute(
        sa.text("SELECT seq, encode(hash, 'hex') FROM baige_sys.audit WHERE seq IS NOT NULL ORDER BY seq DESC LIMIT 1")
    ).first()
    return None if row is None else Head(int(row[0]), str(row[1]))


def _chain(connection: Connection) -> Iterator[tuple[int, str, bytes | None]]:
    last = 0
    while True:
        rows = connection.execute(
            sa.text(
                "SELECT a.seq, baige_sys.audit_text(a), a.hash FROM baige_sys.audit AS a WHERE a.seq > :last ORDER BY a.seq LIMIT 5000"
            ),
            {"last": last},
        ).fetchall()
        if not rows:
            return
        for seq, text, digest in rows:
            yield int(seq), str(text), None if digest is None else bytes(digest)
        last = int(rows[-1][0])


def verify(connection: Connection, *, kept: Head | None = None) -> Verdict:
    """Compute the whole chain again, and compare it with the change sets and with a head kept elsewhere.

    Parameters
    ----------
    kept : Head, optional
        A head noted earlier: entry and hash must still be there.
    """
    verdict = Verdict()
    before, expected, kept_seen = b"", 1, kept is None
    for seq, text, digest in _chain(connection):
        if seq != expected:
            verdict.fault(
                expected, f"entries {expected} to {seq - 1} are missing", f"第 {expected} 至 {seq - 1} 条缺失"
            )
        known = hashlib.sha256(before + text.encode()).digest()
        if seq == expected and digest != known:
            verdict.fault(seq, "the entry is not what was written", "内容与写入时不符")
        if kept is not None and seq == kept.seq:
            kept_seen = True
            if digest is None or digest.hex() != kept.hash:
                verdict.fault(seq, "the entry is not that of the head kept", "与保存的链头不符")
        # go on from what stands there, so that one change is one fault
        before, expected = digest or known, seq + 1
        verdict.entries += 1
        verdict.head = Head(seq, before.hex())
    if kept is not None and not kept_seen:
        zh = f"链在第 {kept.seq} 条之前结束，尾部被截断"
        verdict.fault(kept.seq, f"the chain ends before entry {kept.seq}, which was kept: its end was cut off", zh)
    rows = connection.execute(
        sa.text(
            "SELECT c.id FROM baige_sys.change_set AS c WHERE NOT EXISTS (SELECT 1 FROM baige_sys.audit AS a WHERE a.kind = 'change'"
            " AND (a.detail ->> 'change')::bigint = c.id) AND c.id > (SELECT coalesce(min((detail ->> 'change')::bigint), 0) FROM baige_sys.audit"
            " WHERE kind = 'change') ORDER BY c.id LIMIT 100"
        )
    )
    for change in rows.scalars():
        verdict.fault(expected, f"change {change} has no entry", f"变更 {change} 没有审计记录")
    unsealed = connection.execute(sa.text("SELECT count(*) FROM baige_sys.audit WHERE seq IS NULL")).scalar_one()
    if unsealed:
        verdict.fault(expected, f"{unsealed} entries are not sealed yet", f"{unsealed} 条尚未入链")
    return verdict


def entries(
    connection: Connection,
    *,
    layer: str | None = None,
    actor: str | None = None,
    kind: str | None = None,
    since: datetime | None = None,
    limit: int = 100,
) -> list[dict[str, Any]]:
    """The newest entries, the last first."""
    rows = connection.execute(
        sa.text(
            "SELECT seq, at, kind, layer, actor, role, district, request_id, detail FROM baige_sys.audit"
            " WHERE (cast(:layer AS text) IS NULL OR layer = :layer) AND (cast(:actor AS text) IS NULL OR actor = :actor)"
            " AND (cast(:kind AS text) IS NULL OR kind = :kind) AND (cast(:since AS timestamptz) IS NULL OR at >= :since) ORDER BY id DESC LIMIT :n"
        ),
        {"layer": layer, "actor": actor, "kind": kind, "since": since, "n": limit},
    )
    return [dict(row) for row in rows.mappings()]

"""Who may see and change what: database roles, row-level security, column privileges.

The database decides, not the route: whatever touches it for a user runs in a transaction under that user's role, with the district
(an administrative code prefix) as a transaction setting. Superusers and the owner of the tables are outside these rules; they do the
work of the platform itself.

======== ==================================== ====================== =================
role     sees rows classified                 in                     changes
======== ==================================== ====================== =================
public   public                               anywhere               nothing
viewer   public anywhere, internal            its district           nothing
officer  public anywhere, internal,restricted its district           its district
planner  public anywhere, internal,restricted its district           its district
admin    all                                  anywhere               anywhere
======== ==================================== ====================== =================
"""

from dataclasses import dataclass, field
from typing import Literal

from layers.declaration import LayerDeclaration

__all__ = ["DATABASE_ROLES", "LEAKPROOF_FUNCTIONS", "PUBLIC", "SYSTEM", "Principal", "RoleName", "access_sql", "sees_place", "visible_fields"]

RoleName = Literal["owner", "public", "viewer", "officer", "planner", "admin"]

#: Roles in the database, by role name of Baige.
DATABASE_ROLES: dict[str, str] = {role: f"baige_{role}" for role in ("public", "viewer", "officer", "planner", "admin")}


@dataclass(frozen=True)
class Principal:
    """On whose behalf the database is used: a role, a district, a key; never a person.

    Attributes
    ----------
    role : str
        ``owner`` is the platform itself (set-up, loading on the command line, analysis jobs).
    district : str
        Prefix of administrative codes (2 to 12 digits) that rows must have; empty for the whole city.
    key_id : str
        Public id of the access key, kept with each change.
    asked : str
        Address that was asked, kept with reads of restricted layers.
    """

    role: RoleName
    district: str = ""
    key_id: str = ""
    request_id: str = ""
    asked: str = field(default="", compare=False)


#: Functions that tell nothing of the rows they are applied to: no error or notice carries a value. Only a superuser may say so in the
#: database; where it is said, spatial and prefix indexes serve below row-level security as well.
LEAKPROOF_FUNCTIONS = (
    "geometry_overlaps(geometry, geometry)",
    "st_intersects(geometry, geometry)",
    "starts_with(text, text)",
)

#: The platform itself.
SYSTEM = Principal("owner")
#: A visitor without any key.
PUBLIC = Principal("public")

_DISTRICT = "(SELECT coalesce(current_setting('baige.district', true), ''))"
_IN_DISTRICT = f"({_DISTRICT} = '' OR admin_code ^@ {_DISTRICT})"


def visible_fields(declaration: LayerDeclaration, role: str) -> tuple[str, ...]:
    """Names of the declared fields that ``role`` may read."""
    hidden = declaration.hidden.get(role, ())  # type: ignore[call-overload]
    return tuple(field.name for field in declaration.all_fields if role not in field.hidden_from and field.name not in hidden)


def sees_place(declaration: LayerDeclaration, role: str) -> bool:
    """Whether features have a place, and ``role`` may see it."""
    return declaration.has_geometry and "geom" not in declaration.hidden.get(role, ())  # type: ignore[call-overload]


def _reading(layer: str, *, past: bool) -> dict[str, str]:
    """By role, which rows of a layer it reads; of its history where ``past``.

    An old version shows no more than its feature shows now: one that was published by mistake and then withdrawn is withdrawn from the
    past as well.
    """
    known = f"(SELECT feature_id FROM baige_sys.reclassified WHERE layer = '{layer}' AND classification"
    public, internal = "classification = 'public'", "classification = 'internal'"
    if past:
        public = f"(classification = 'public' AND id NOT IN {known} <> 'public'))"
        internal = f"(classification <> 'restricted' AND id NOT IN {known} = 'restricted'))"
    return {
        "public": public,
        "viewer": f"{public} OR ({internal} AND {_IN_DISTRICT})",
        "officer": f"{public} OR {_IN_DISTRICT}",
        "planner": f"{public} OR {_IN_DISTRICT}",
        "admin": "true",
    }


def access_sql(declaration: LayerDeclaration) -> list[str]:
    """Statements that set policies and grants of a layer and its history; safe to run again."""
    statements = []
    writable = declaration.kind != "result"
    for schema in ("baige", "baige_history"):
        table = f'{schema}."{declaration.name}"'
        statements.append(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        for role, condition in _reading(declaration.name, past=schema == "baige_history").items():
            statements += [
                f"DROP POLICY IF EXISTS read_{role} ON {table}",
                f"CREATE POLICY read_{role} ON {table} FOR SELECT TO baige_{role} USING ({condition})",
                f"REVOKE ALL ON {table} FROM baige_{role}",
            ]
            place = ["geom"] if sees_place(declaration, role) else []
            columns = ["id", *place, "changed_at", "change_id", *visible_fields(declaration, role)]
            if schema == "baige_history":
                columns += ["replaced_at", "replaced_by", "replaced_op"]
            listed = ", ".join(f'"{column}"' for column in columns)
            statements.append(f"GRANT SELECT ({listed}) ON {table} TO baige_{role}")
    if writable:
        table = f'baige."{declaration.name}"'
        for role, condition in {"officer": _IN_DISTRICT, "planner": _IN_DISTRICT, "admin": "true"}.items():
            for action, clause in (
                ("insert", f"WITH CHECK ({condition})"),
                ("update", f"USING ({condition}) WITH CHECK ({condition})"),
                ("delete", f"USING ({condition})"),
            ):
                statements += [
                    f"DROP POLICY IF EXISTS {action}_{role} ON {table}",
                    f"CREATE POLICY {action}_{role} ON {table} FOR {action.upper()} TO baige_{role} {clause}",
                ]
            statements.append(f"GRANT INSERT, UPDATE, DELETE ON {table} TO baige_{role}")
    return statements

"""A database of the operator's own (``BAIGE_DATABASE_URL``): is it new enough, and may we do there what we must?"""

import psycopg
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from gis.errors import ConfigError, DatabaseUnavailable
from layers.access import DATABASE_ROLES
from layers.cluster_install import POSTGIS_MIN, POSTGRESQL_MIN, version_tuple

__all__ = ["check_external", "libpq_url", "normalise_url"]

_SCHEMES = {"postgres", "postgresql", "postgresql+psycopg", "postgresql+psycopg2"}


def _parse(url: str) -> URL:
    wrong = ConfigError(
        "BAIGE_DATABASE_URL is not a PostgreSQL URL. Expected: postgresql://user:password@host:5432/database",
        zh="BAIGE_DATABASE_URL 不是 PostgreSQL 连接地址。应为：postgresql://用户:密码@主机:5432/数据库",
    )
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise wrong from None  # the cause would repeat the password
    if parsed.drivername not in _SCHEMES or not parsed.database:
        raise wrong
    return parsed


def normalise_url(url: str) -> str:
    """The URL with our driver named, as SQLAlchemy wants it.

    Raises
    ------
    ConfigError
        It is not a PostgreSQL URL with a database.

    Examples
    --------
    >>> normalise_url("postgres://u:p@db.example/city")
    'postgresql+psycopg://u:p@db.example/city'
    """
    return _parse(url).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


def libpq_url(url: str) -> str:
    """The same as ``psql``, ``pg_dump`` and GDAL understand it.

    Examples
    --------
    >>> libpq_url("postgresql+psycopg://u@/city?host=/run/pg")
    'postgresql://u@/city?host=/run/pg'
    """
    return _parse(url).set(drivername="postgresql").render_as_string(hide_password=False)


def check_external(url: str) -> None:
    """See that a database can carry Baige; PostGIS is created in it if that is all that is missing and we may.

    Parameters
    ----------
    url : str
        URL of the database, with or without a driver named.

    Raises
    ------
    DatabaseUnavailable
        It cannot be reached, or refuses the credentials (what the server said is in the error's notes).
    ConfigError
        PostgreSQL or PostGIS is missing or too old, or a privilege is missing; the message gives the statement that mends it.
    """
    try:
        connection = psycopg.connect(libpq_url(url), connect_timeout=10, autocommit=True)
    except psycopg.OperationalError as error:
        unavailable = DatabaseUnavailable(
            "The database that BAIGE_DATABASE_URL names cannot be reached.",
            zh="无法连接 BAIGE_DATABASE_URL 所指的数据库。",
        )
        unavailable.add_note(str(error).strip())
        raise unavailable from None
    with connection:
        if connection.info.server_version < POSTGRESQL_MIN * 10000:
            major = connection.info.server_version // 10000
            raise ConfigError(
                f"The database server is PostgreSQL {major}; {POSTGRESQL_MIN} or newer is needed.",
                zh=f"数据库服务器为 PostgreSQL {major}，需要 {POSTGRESQL_MIN} 或更新版本。",
            )
        _check_postgis(connection)
        _check_privileges(connection)


def _check_postgis(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    row = connection.execute(
        "SELECT default_version, installed_version FROM pg_available_extensions WHERE name = 'postgis'"
    ).fetchone()
    if row is None:
        raise ConfigError(
            "PostGIS is not installed on the database server. On Debian or Ubuntu, there: apt-get install postgresql-NN-postgis-3",
            zh="数据库服务器未安装 PostGIS。Debian 或 Ubuntu 服务器请执行：apt-get install postgresql-NN-postgis-3",
        )
    version = str(row[1] or row[0])
    if version_tuple(version)[:2] < POSTGIS_MIN:
        raise ConfigError(
            f"PostGIS {version} is too old; 3.3 or newer is needed. After installing it: ALTER EXTENSION postgis UPDATE",
            zh=f"PostGIS {version} 版本过旧，需要 3.3 或更新版本。安装后请执行：ALTER EXTENSION postgis UPDATE",
        )
    if row[1] is None:
        try:
            connection.execute("CREATE EXTENSION IF NOT EXISTS postgis")
        except psycopg.errors.InsufficientPrivilege:
            raise ConfigError(
                "PostGIS is not enabled in the database and this user may not enable it. As superuser, in that database: CREATE EXTENSION postgis",
                zh="该数据库未启用 PostGIS，且当前用户无权启用。请由超级用户在该数据库执行：CREATE EXTENSION postgis",
            ) from None


def _check_privileges(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    row = connection.execute(
        "SELECT current_user, current_database(), has_database_privilege(current_database(), 'CREATE'), rolsuper OR rolcreaterole"
        " FROM pg_roles WHERE rolname = current_user"
    ).fetchone()
    user, database, may_create, may_make_roles = row if row is not None else ("?", "?", False, False)
    if not may_create:
        raise ConfigError(
            f'User {user} may not create schemas. As superuser: GRANT CREATE ON DATABASE "{database}" TO "{user}"',
            zh=f'用户 {user} 无权创建模式。请由超级用户执行：GRANT CREATE ON DATABASE "{database}" TO "{user}"',
        )
    if not may_make_roles and not _roles_exist(connection):
        raise ConfigError(
            f'User {user} may not make the roles that access rules need. As superuser: ALTER ROLE "{user}" CREATEROLE',
            zh=f'用户 {user} 无权创建访问规则所需的角色。请由超级用户执行：ALTER ROLE "{user}" CREATEROLE',
        )


def _roles_exist(connection: psycopg.Connection[tuple[object, ...]]) -> bool:
    """Whether our roles are there and this user is a member of each."""
    row = connection.execute(
        "SELECT count(*) FROM pg_roles WHERE rolname = ANY (%s) AND pg_has_role(current_user, oid, 'MEMBER')",
        (list(DATABASE_ROLES.values()),),
    ).fetchone()
    return row is not None and row[0] == len(DATABASE_ROLES)

"""Folders of the embedded cluster: made with the right mode and owner, and never taken from a stranger."""

import os
import stat
from contextlib import suppress
from pathlib import Path

from gis.errors import ConfigError
from layers.cluster_install import ServerUser

__all__ = ["claim_directory", "make_directory"]


def make_directory(path: Path, owner: ServerUser | None, *, mode: int) -> None:
    """Make a folder and those above it with ``mode`` whatever the umask; root gives it to ``owner``, or to whom the folder above belongs."""
    missing = []
    while not path.exists():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        folder.chmod(mode)
        if os.geteuid() == 0:
            above = folder.parent.stat()
            uid, gid = (owner.uid, owner.gid) if owner is not None else (above.st_uid, above.st_gid)
            os.chown(folder, uid, gid)


def claim_directory(path: Path, user: ServerUser) -> None:
    """Make the socket's folder, or check that the one that is there is ours alone; in ``/tmp`` anybody could have made it.

    Raises
    ------
    ConfigError
        It is a link, or belongs to somebody else.
    """
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
        if user.switch:
            os.chown(path, user.uid, user.gid)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != user.uid:
        raise ConfigError(
            f"{path} exists but is not a folder of user {user.name}: it is not safe to put the database's socket there. "
            "Remove it, or use a shorter BAIGE_HOME.",
            zh=f"{path} 已存在，但不是用户 {user.name} 的目录，在其中放置数据库套接字不安全。请删除它，或将 BAIGE_HOME 设为较短的路径。",
        )
    if stat.S_IMODE(found.st_mode) != 0o700:
        path.chmod(0o700)

"""Loading of files: what ``baige load`` does."""

import hashlib
from pathlib import Path

from gis.settings import CityConfig, load_city
from layers.access import SYSTEM, Principal
from layers.database import Database
from layers.loading.engine import Progress, load_source
from layers.loading.options import LoadOptions
from layers.loading.readers import open_source
from layers.loading.report import LoadReport
from layers.registry import declaration_of

__all__ = ["load_file"]


def load_file(
    database: Database,
    layer: str,
    path: Path,
    *,
    options: LoadOptions | None = None,
    city: CityConfig | None = None,
    principal: Principal = SYSTEM,
    progress: Progress | None = None,
) -> LoadReport:
    """Load a file into a layer, in one transaction.

    Parameters
    ----------
    path : Path
        Of any format of `layers.loading.readers.FORMATS`.
    progress : callable, optional
        Called with the number of rows read so far.

    Returns
    -------
    LoadReport
        Rows inserted, updated, unchanged and quarantined; columns used, dropped and ignored.

    Raises
    ------
    NotFound
        There is no such layer.
    InputError
        The file as a whole cannot be used; the subclass says why.
    BackendError
        The database could not take it. The layer is as it was.
    """
    chosen = options or LoadOptions()
    path = Path(path)
    with database.begin(principal, readonly=True) as connection:
        declaration = declaration_of(connection, layer)
    with open_source(path, options=chosen, declaration=declaration) as source:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return load_source(
            database,
            layer,
            source,
            file_name=path.name,
            options=chosen,
            city=city or load_city(),
            principal=principal,
            file_sha256=digest,
            progress=progress,
        )

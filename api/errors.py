"""The one place where errors of ours become answers: an HTTP status for the server, an exit code for the command line."""

from gis import errors

__all__ = ["exit_code", "http_status"]

_STATUS: dict[type[errors.BaigeError], int] = {
    errors.BaigeError: 500,
    errors.InputError: 400,
    errors.CRSMismatch: 400,
    errors.InvalidGeometry: 400,
    errors.UnknownField: 400,
    errors.UnreadableFile: 400,
    errors.LimitExceeded: 400,
    errors.NotFound: 404,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.Conflict: 409,
    errors.PreconditionFailed: 412,
    errors.Cancelled: 503,
    errors.DataError: 500,
    errors.BackendError: 503,
    errors.DatabaseUnavailable: 503,
    errors.DatabaseTimeout: 503,
    errors.QueryFailed: 503,
    errors.RasterReadFailed: 503,
    errors.ConfigError: 500,
}


def http_status(error: BaseException) -> int:
    """HTTP status of an error: the one of its class, else of the nearest class above; 500 for what is not ours.

    Examples
    --------
    >>> http_status(errors.NotFound("No such layer."))
    404
    """
    return next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)


def exit_code(error: BaseException) -> int:
    """Exit code of the command line: 2 when the input is at fault, 1 otherwise.

    Examples
    --------
    >>> exit_code(errors.UnknownField("No such field."))
    2
    """
    return 2 if isinstance(error, errors.InputError) else 1

"""The errors of Baige, one tree::

    BaigeError
    ├── InputError              what the caller gave cannot be used (HTTP 400, exit 2)
    │   ├── CRSMismatch         reference systems differ, are missing or are not what the file claims
    │   ├── InvalidGeometry     a geometry that cannot be stored or repaired
    │   ├── UnknownField        a column, property or parameter that does not exist
    │   ├── UnreadableFile      a file that is empty, truncated, of another format or unsafe
    │   └── LimitExceeded       larger than is allowed
    ├── NotFound                (404)
    ├── Unauthorized            no or no valid credential (401)
    ├── Forbidden               (403)
    ├── Conflict                another change came first, or the state does not allow it (409)
    ├── PreconditionFailed      an If-Match that no longer matches (412)
    ├── Cancelled               the work was stopped on request (499 → 503)
    ├── DataError               stored data contradicts itself (500)
    ├── BackendError            (503)
    │   ├── DatabaseUnavailable
    │   ├── DatabaseTimeout     a statement or lock time limit was reached
    │   ├── QueryFailed
    │   └── RasterReadFailed
    └── ConfigError             settings or machine are not as needed (500, exit 1)

The message of an error is safe to show to any user: SQL, paths of the server and connection strings go to the log, never into it.
Each message is given in English and Chinese.
"""

__all__ = [
    "BackendError",
    "BaigeError",
    "CRSMismatch",
    "Cancelled",
    "ConfigError",
    "Conflict",
    "DataError",
    "DatabaseTimeout",
    "DatabaseUnavailable",
    "Forbidden",
    "InputError",
    "InvalidGeometry",
    "LimitExceeded",
    "NotFound",
    "PreconditionFailed",
    "QueryFailed",
    "RasterReadFailed",
    "Unauthorized",
    "UnknownField",
    "UnreadableFile",
]


class BaigeError(Exception):
    """Base of all errors raised on purpose.

    Parameters
    ----------
    message : str
        What happened and what to do, in English; safe to show.
    zh : str, optional
        The same in Chinese; the English text where it is missing.
    """

    def __init__(self, message: str, *, zh: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.zh = zh or message

    def text(self, lang: str = "en") -> str:
        """The message in ``lang`` (``"zh"`` or ``"en"``)."""
        return self.zh if lang.startswith("zh") else self.message


class InputError(BaigeError):
    """What the caller gave cannot be used."""


class CRSMismatch(InputError):
    """Reference systems differ, are missing or are not what they are said to be."""


class InvalidGeometry(InputError):
    """A geometry that can be neither stored nor repaired."""


class UnknownField(InputError):
    """A column, property or parameter that does not exist."""


class UnreadableFile(InputError):
    """A file that is empty, truncated, of another format or unsafe to open."""


class LimitExceeded(InputError):
    """Larger than is allowed."""


class NotFound(BaigeError):
    """The thing asked for does not exist, or may not be seen."""


class Unauthorized(BaigeError):
    """No credential, or one that is not valid."""


class Forbidden(BaigeError):
    """Known, but not allowed."""


class Conflict(BaigeError):
    """Another change came first, or the present state does not allow it."""


class PreconditionFailed(BaigeError):
    """The version named in the request is no longer the current one."""


class Cancelled(BaigeError):
    """The work was stopped on request; what was done before stays valid."""


class DataError(BaigeError):
    """Stored data contradicts itself."""


class BackendError(BaigeError):
    """Something that Baige stands on failed."""


class DatabaseUnavailable(BackendError):
    """The database cannot be reached."""


class DatabaseTimeout(BackendError):
    """A statement or lock time limit was reached."""


class QueryFailed(BackendError):
    """The database refused or broke off a query."""


class RasterReadFailed(BackendError):
    """A raster could not be read."""


class ConfigError(BaigeError):
    """Settings or the machine are not as needed."""

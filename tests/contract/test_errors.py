"""Every error of the tree has an HTTP status and an exit code, and is drawn in the tree."""

from collections.abc import Iterator

import pytest

from api.errors import _STATUS, exit_code, http_status
from gis import errors
from gis.errors import BaigeError, InputError


def tree(kind: type[BaigeError] = BaigeError) -> Iterator[type[BaigeError]]:
    yield kind
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from tree(child)


@pytest.mark.parametrize("kind", sorted(set(tree()), key=lambda k: k.__name__), ids=lambda k: k.__name__)
def test_error_is_mapped(kind: type[BaigeError]) -> None:
    assert kind in _STATUS, "give it a status in api/errors.py"
    error = kind("What happened.", zh="发生了什么。")
    assert 400 <= http_status(error) <= 599
    assert exit_code(error) == (2 if issubclass(kind, InputError) else 1)
    assert (http_status(error) < 500) == issubclass(
        kind,
        (
            InputError,
            errors.NotFound,
            errors.Unauthorized,
            errors.Forbidden,
            errors.Conflict,
            errors.PreconditionFailed,
        ),
    )
    assert kind.__name__ in errors.__all__
    assert kind.__name__ in (errors.__doc__ or "")
    assert (error.text("en"), error.text("zh"), error.text("zh_CN")) == (
        "What happened.",
        "发生了什么。",
        "发生了什么。",
    )


def test_statuses_name_no_error_twice_or_in_vain() -> None:
    assert set(_STATUS) == set(tree())


def test_what_is_not_ours() -> None:
    class Local(InputError):
        pass

    assert (http_status(Local("x")), exit_code(Local("x"))) == (400, 2)
    assert (http_status(ValueError("x")), exit_code(ValueError("x"))) == (500, 1)

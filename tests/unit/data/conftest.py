"""The small reference city, generated once for the session."""

import pytest

from data.city import ReferenceCity, generate

SEED = 7


@pytest.fixture(scope="session")
def reference_city() -> ReferenceCity:
    """The small city of a seed of the tests' own."""
    return generate("small", seed=SEED)

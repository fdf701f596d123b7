"""Shared fixtures of the tests of a storm's site."""

import pytest

from tests.servers import NotInstalled, postgres_program


@pytest.fixture(scope="session")
def needs_postgres() -> None:
    """Skip the test if PostgreSQL is not installed, as it may be for `bin/test fast`."""
    try:
        postgres_program("initdb")
    except NotInstalled as error:
        pytest.skip(str(error))

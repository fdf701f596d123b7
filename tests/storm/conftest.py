"""What the tests of a storm's site share."""

import pytest

from tests.servers import NotInstalled, postgres_program


@pytest.fixture(scope="session")
def needs_postgres() -> None:
    """Only `bin/test fast` runs where PostgreSQL may be missing."""
    try:
        postgres_program("initdb")
    except NotInstalled as error:
        pytest.skip(str(error))

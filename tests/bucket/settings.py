"""The settings of processes that tests start, with the big export."""

from tests.office.settings import *  # noqa: F403
from tests.office.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.bucket"]

"""The settings of processes that tests start: those of the test that started them, handed over as JSON."""

import json
import os

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS

globals().update(json.loads(os.environ["OFFICE_SETTINGS"]))
INSTALLED_APPS = [*INSTALLED_APPS, "tests.office"]

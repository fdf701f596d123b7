"""A site whose user model is `people.Person`."""

import os
from pathlib import Path

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES, EXPORTS, INSTALLED_APPS, STORAGES

FOLDER = Path(os.environ["SITE_FOLDER"])
AUTH_USER_MODEL = "people.Person"
INSTALLED_APPS = [*(name for name in INSTALLED_APPS if not name.startswith("tests.")), "tests.stacks.people"]
DATABASES = {"default": {**DATABASES["default"], "ENGINE": "django.db.backends.sqlite3", "NAME": FOLDER / "db.sqlite3"}}
EXPORTS = {**EXPORTS, "WORK_DIR": str(FOLDER / "work"), "MAIL_DELAY_SECONDS": 0}
STORAGES = {**STORAGES, "exports": {**STORAGES["exports"], "OPTIONS": {"location": str(FOLDER / "files")}}}

"""The settings of the backoffice in processes that tests start, with django-unfold if WITH_UNFOLD is set."""

import os
from pathlib import Path

from tests.office.settings import *  # noqa: F403
from tests.office.settings import EXPORTS, INSTALLED_APPS, MIDDLEWARE, SCRATCH

THEME = ["unfold"] if os.environ.get("WITH_UNFOLD") else []
INSTALLED_APPS = [*THEME, *INSTALLED_APPS, "django.contrib.staticfiles", "tests.backoffice"]
MIDDLEWARE = ["project.static_files.StaticFiles", *MIDDLEWARE]
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = True
# A wheel has them as static files of the app.
STATICFILES_DIRS = [("exports", Path(__file__).resolve().parents[2] / "frontend")]
STATIC_ROOT = SCRATCH / "static"
ROOT_URLCONF = "tests.backoffice.urls"
LOGIN_URL = "/backoffice/login/"
EXPORTS = {**EXPORTS, "WEBHOOKS": True}

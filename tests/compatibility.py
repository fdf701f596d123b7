"""docs/compatibility.md: each variation of a project, whether it works, and the tests that show it.

    python -m tests.compatibility     writes the page

A test shows a variation by its mark: `@pytest.mark.shows("Celery as the queue")`.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "compatibility.md"
HEAD = """# Compatibility

What a project may have around the app, and how. The tests write this table (`python -m tests.compatibility`): a row is
only there if the tests in its last column show it.

| Variation | Works | How | Shown by |
|---|---|---|---|
"""


@dataclass(frozen=True)
class Variation:
    """`works` and `how` are in the words of the page."""

    works: str
    how: str


VARIATIONS: Mapping[str, Variation] = {
    "uvicorn, hypercorn, gunicorn, daphne": Variation("yes", "[start it](deploying.md#run-under-another-web-server)"),
    "WSGI only": Variation("pages poll", "[start it](deploying.md#run-under-another-web-server)"),
    "gunicorn with gevent": Variation("pages poll", "[start it](deploying.md#run-under-another-web-server)"),
    "Celery as the queue": Variation("yes", "[`QUEUE_BACKEND`](task-queues.md#celery)"),
    "django.tasks as the queue": Variation("yes", "[`QUEUE_BACKEND`](task-queues.md#djangotasks)"),
    "cron only": Variation("yes", "`manage.py exports process` and `clean`, with `QUEUE_BACKEND` None"),
    "Django REST framework, JWT, single-page applications": Variation(
        "yes", "[`AUTHENTICATE`](single-page-applications.md)"
    ),
    "django-unfold": Variation("yes", "[`ExportMixin`](admin.md) with its `ModelAdmin`"),
    "django-filter": Variation("yes", "[`ExportableListMixin`](export-response.md#add-an-export-to-a-list-view)"),
    "django-import-export": Variation("yes", "[`register_resource`](adopting.md#a-resource-of-django-import-export)"),
    "django-tables2": Variation("yes", "[`register_table`](adopting.md#a-table-of-django-tables2)"),
    "viewsets of Django REST framework": Variation(
        "yes", "[`register_viewset`](adopting.md#a-viewset-of-django-rest-framework)"
    ),
    "own user model": Variation("yes", "`AUTH_USER_MODEL`, with any primary key and `USERNAME_FIELD`"),
    "tenants": Variation("yes", "[`TENANT_OF`](tenants.md)"),
    "base URL per site": Variation("yes", "[`BASE_URL` as a function of the tenant](tenants.md)"),
    "nginx with X-Accel-Redirect": Variation("yes", "[`ACCEL_REDIRECT`](deploying.md#configure-nginx)"),
    "S3": Variation("yes", "[a private bucket](s3.md)"),
    "FORCE_SCRIPT_NAME": Variation("yes", "nothing to do; also `root_path` of the server"),
    "i18n_patterns": Variation("yes", "nothing to do"),
    "another URL prefix": Variation("yes", '`path("any/prefix/", include("exports.urls"))`, without parameters'),
    "another namespace": Variation("yes", "nothing to do; templates link by `{% export_url %}`"),
    "replica router": Variation("yes", "[a router in front](deploying.md#read-from-replicas)"),
    "WebKit, the engine of Safari": Variation("yes", "nothing to do; beside Chromium and Firefox"),
    "MariaDB and MySQL": Variation(
        "no", "[`manage.py check` refuses](checks.md) the app's tables there; exports may read rows of it"
    ),
    "Windows": Variation(
        "not tried", "nothing needs a POSIX system: all runs with what only those have taken out of Python"
    ),
}


def shown_by() -> dict[str, list[str]]:
    """Return the names of the modules whose tests have the mark of a variation, by variation."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for name in dict.fromkeys(re.findall(r'^@pytest\.mark\.shows\("([^"]+)"\)$', path.read_text(), re.MULTILINE)):
            found[name].append(path.name)
    return found


def page() -> str:
    """Return the page; raise KeyError for a variation that no test shows."""
    shown = dict(shown_by())
    lines = []
    for name, variation in VARIATIONS.items():
        tests = ", ".join(f"`{each}`" for each in shown[name])
        lines.append(f"| {name} | {variation.works} | {variation.how} | {tests} |\n")
    return HEAD + "".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page())

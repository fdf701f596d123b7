"""What Django can check at start: settings that cannot work, storage that anybody can read, exports that cannot be.

`manage.py check` asks for what cannot work, `manage.py check --deploy` also for what is unsafe where others come.
"""

from django.core import checks

from exports.checks.declared import check_exports
from exports.checks.deployment import check_abuse, check_base_url, check_content, check_retention, check_services
from exports.checks.files import check_default_storage, check_storage
from exports.checks.folders import check_folder, check_work_dir
from exports.checks.keys import check_keys
from exports.checks.options import check_settings
from exports.checks.queue import check_queue

__all__ = (
    "check_abuse",
    "check_base_url",
    "check_content",
    "check_default_storage",
    "check_exports",
    "check_folder",
    "check_keys",
    "check_queue",
    "check_retention",
    "check_services",
    "check_settings",
    "check_storage",
    "check_work_dir",
    "register_all",
)

ALWAYS = (check_settings, check_storage, check_exports)
IN_DEPLOYMENTS = (
    check_base_url,
    check_default_storage,
    check_keys,
    check_work_dir,
    check_folder,
    check_abuse,
    check_retention,
    check_content,
    check_services,
    check_queue,
)


def register_all() -> None:
    for check in ALWAYS:
        checks.register(check, "exports")
    for check in IN_DEPLOYMENTS:
        checks.register(check, "exports", deploy=True)

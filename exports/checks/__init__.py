"""System checks: settings that cannot work, a public storage, exporters that are declared wrongly.

`manage.py check` reports what cannot work; `manage.py check --deploy` also reports what is unsafe in production.
`manage.py exports doctor` runs the same checks beside its own probes.
"""

from django.core import checks

from exports.checks.deployment import (
    channel_layer_backend,
    check_base_url,
    check_channel_layer,
    check_formula_escaping,
    check_limits,
    check_mail_backend,
    check_retention,
    check_socket_origins,
)
from exports.checks.exporters import check_column_permissions, check_exports
from exports.checks.folders import check_work_dir
from exports.checks.queue import check_queue_servers, check_serializers
from exports.checks.secrets import check_secrets
from exports.checks.settings import check_compression, check_lists, check_queue_backend, check_settings
from exports.checks.storage import (
    check_default_storage,
    check_public_bucket,
    check_served_folder,
    check_storage,
    check_storage_folder,
)

__all__ = (
    "ALWAYS",
    "IN_DEPLOYMENTS",
    "channel_layer_backend",
    "check_base_url",
    "check_channel_layer",
    "check_column_permissions",
    "check_exports",
    "check_mail_backend",
    "check_secrets",
    "check_settings",
    "check_storage",
    "check_work_dir",
    "register_all",
)

ALWAYS = (
    check_settings,
    check_queue_backend,
    check_compression,
    check_lists,
    check_storage,
    check_served_folder,
    check_public_bucket,
    check_exports,
    check_column_permissions,
)
IN_DEPLOYMENTS = (
    check_base_url,
    check_default_storage,
    check_secrets,
    check_work_dir,
    check_storage_folder,
    check_limits,
    check_retention,
    check_formula_escaping,
    check_mail_backend,
    check_channel_layer,
    check_socket_origins,
    check_serializers,
    check_queue_servers,
)


def register_all() -> None:
    """Register every check with Django, under the tag "exports"."""
    for check in ALWAYS:
        checks.register(check, "exports")
    for check in IN_DEPLOYMENTS:
        checks.register(check, "exports", deploy=True)

"""System checks of the settings, the storage, the registered exporters and the site around the app.

`manage.py check` reports what cannot work; `manage.py check --deploy` also reports what is unsafe in production.
`manage.py exports doctor` runs the same checks beside its own probes. Importing this package registers them all.
"""

from exports.checks import columns, site  # noqa: F401
from exports.checks.deployment import channel_layer_backend, check_base_url, check_channel_layer, check_mail_backend
from exports.checks.exporters import check_exports, check_permissions
from exports.checks.folders import check_work_dir
from exports.checks.pooler import check_pooler
from exports.checks.queue import check_queue
from exports.checks.secrets import check_secrets
from exports.checks.settings import check_settings
from exports.checks.storage import check_storage

__all__ = (
    "channel_layer_backend",
    "check_base_url",
    "check_channel_layer",
    "check_exports",
    "check_mail_backend",
    "check_permissions",
    "check_pooler",
    "check_queue",
    "check_secrets",
    "check_settings",
    "check_storage",
    "check_work_dir",
)

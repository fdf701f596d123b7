"""The README's class, and its variations."""

from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from exports.patterns import Dataset, FullPattern, InvalidForm
from exports.toolbox import Signer
from tests.seed.forms import LoginExportFilterForm
from tests.seed.models import LoginEvent
from tests.seed.spreadsheets import write_events

my_signer = Signer(key="my-key", salt="my-salt", max_age=7 * 24 * 3600)


class LoginEventExport(FullPattern):
    # These can all be overridden by get_* methods, e.g. get_file_type
    file_type = "login_events"
    content_type = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    delayed_template_name = "reports/delayed_response.html"
    email_subject = _("File %(filename)s is ready!")
    email_text_message = _("Come and get it: %(download_url)s")
    download_url = "https://seed.example/downloads/%(token)s/"

    def get_items(self, criteria: Any) -> QuerySet[LoginEvent]:
        form = LoginExportFilterForm(data=criteria.raw)
        if not form.is_valid():
            raise InvalidForm(form=form)
        return form.apply_filters(LoginEvent.objects.all())

    def evaluate_dataset(self, dataset: Dataset, http_request: HttpRequest) -> None:
        dataset.delay = dataset.items.count() > 10000

    def write_bytes(self, dataset: Dataset, buffer: Any) -> None:
        write_events(dataset.items, buffer)


class GeneralExport(LoginEventExport):
    """Anyone with a valid token may have its files."""

    file_type = "general_events"
    requester_only = False


class SignedExport(LoginEventExport):
    file_type = "signed_events"
    signer = my_signer
    download_url = "https://seed.example/own/%(token)s/"


class SignedByHookExport(LoginEventExport):
    file_type = "signed_by_hook_events"
    download_url = "https://seed.example/own/%(token)s/"

    def get_signer(self) -> Signer:
        return my_signer

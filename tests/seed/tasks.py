"""The project's own huey, which `exports` does not know."""

from django.http import QueryDict
from django.urls import reverse
from huey import MemoryHuey

from exports import toolbox
from exports.contrib.bgfiles.huey import ScheduleWithHueyMixin
from exports.models import FileRequest
from exports.patterns import registry
from tests.seed import notifications
from tests.seed.exports import LoginEventExport
from tests.seed.forms import LoginExportFilterForm
from tests.seed.models import LoginEvent
from tests.seed.spreadsheets import write_xlsx

huey = MemoryHuey("seed", immediate=False)


@huey.task()
def export_login_events_task(file_request_id) -> None:
    # Grab our request.
    request = FileRequest.objects.get(id=file_request_id)
    # Restore our criteria
    criteria = QueryDict(request.criteria)
    # Build our form and apply the filters as specified by the criteria
    form = LoginExportFilterForm(data=criteria)
    form.is_valid()
    events = LoginEvent.objects.all()
    events = form.apply_filters(events)
    # Write the events to an xlsx buffer (simplified)
    contents = write_xlsx(events)
    # Attach the contents to the request and add a filename
    toolbox.attach_file(request, contents, filename="login_events.xlsx")
    # Generate a token for the requester of the file
    token = toolbox.create_token(request)
    # Grab the download url including our token
    download_url = reverse("mydownloads:serve", kwargs={"token": token})
    # And send out an email containing the link
    notifications.send_file_ready(request.requester, download_url, request.filename)


@huey.task()
def dispatch_task(file_request_id) -> bool:
    return registry.dispatch(file_request_id)


class QueuedExport(ScheduleWithHueyMixin, LoginEventExport):
    """A pattern whose delayed files are made by the project's huey task."""

    file_type = "queued_events"
    task = dispatch_task

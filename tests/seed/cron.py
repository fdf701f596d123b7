from django.http import QueryDict
from django.urls import reverse

from exports import toolbox
from exports.models import FileRequest
from tests.seed import notifications
from tests.seed.exports import LoginEventExport
from tests.seed.forms import LoginExportFilterForm
from tests.seed.models import LoginEvent
from tests.seed.spreadsheets import write_xlsx


def process_file_requests() -> None:
    # Only grab the requests that still need to be processed
    requests = FileRequest.objects.to_handle()
    # Process each one by delegating to a specific handler
    for request in requests:
        if request.file_type == "login_events":
            process_login_events(request)
        elif request.file_type == "something_else":
            process_something_else(request)
        else:
            raise Exception(f"Unsupported file type {request.file_type}")


def process_login_events(request: FileRequest) -> None:
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
    # Get the download url
    download_url = reverse("mydownloads:serve", kwargs={"token": token})
    # Send out an email containing the link
    notifications.send_file_ready(request.requester, download_url, request.filename)


def process_something_else(request: FileRequest) -> None:
    """What is left of it with the pattern."""
    LoginEventExport(request.filename).create_file(request)

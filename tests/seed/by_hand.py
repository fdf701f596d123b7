"""The README's first view, which does everything manually, and one that uses the project's huey."""

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render

from exports import toolbox
from tests.seed.forms import LoginExportFilterForm
from tests.seed.models import LoginEvent
from tests.seed.spreadsheets import XLSX, write_xlsx
from tests.seed.tasks import QueuedExport, export_login_events_task
from tests.seed.views import export_login_events


def export_by_hand(request: HttpRequest, is_by_cron: bool = False) -> HttpResponseBase:
    if request.method == "POST":
        form = LoginExportFilterForm(data=request.POST)
        if form.is_valid():
            # Grab our events
            events = LoginEvent.objects.all()
            # Apply the filters the user supplied
            events = form.apply_filters(events)
            # We want to limit online file creation to at most 10000 events
            max_nr_events = 10000
            nr_events = events.count()
            if nr_events <= max_nr_events:
                # Ok, deliver our file to the user
                return HttpResponse(write_xlsx(events), content_type=XLSX)
            # The file would be too big. So let's grab our criteria
            criteria = request.POST.urlencode()
            # The content type is optional
            content_type = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
            # Now add a file request
            with transaction.atomic():
                file_request = toolbox.add_request(
                    criteria, file_type="login_events", requester=request.user, content_type=content_type
                )
            if not is_by_cron:
                # Schedule a task
                export_login_events_task(file_request.id)
            # And let the user know we'll get back to them on that
            context = {"nr_events": nr_events, "max_nr_events": max_nr_events}
            return render(request, "reports/delayed_response.html", context=context)
    else:
        form = LoginExportFilterForm()
    return render(request, "reports/login_events_filter.html", context={"form": form})


def export_queued(request: HttpRequest) -> HttpResponseBase:
    return export_login_events(request, QueuedExport)

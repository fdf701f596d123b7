from urllib.parse import urlencode

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.templatetags.static import static
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from project.demo.forms import FlightFilter
from project.demo.models import Flight
from project.demo.tables import table_of


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def home(request: HttpRequest) -> HttpResponse:
    """The flights that fit the filter in the address, the form that exports them, and one's exports."""
    if request.method == "POST":
        return redirect(address_of(request))
    chosen = FlightFilter(request.GET)
    flights = Flight.objects.matching(chosen.cleaned_data) if chosen.is_valid() else Flight.objects.none()
    table = table_of(flights, sort=request.GET.get("sort", ""), page=request.GET.get("page"))
    return render(request, "demo/home.html", {"filter": chosen, "table": table})


def favicon(request: HttpRequest) -> HttpResponse:
    """Where browsers look on pages that name no icon, such as the admin's."""
    return redirect(static("site.svg"))


def address_of(request: HttpRequest) -> str:
    """The address that shows what the filter was set to.

    The filter is the export's form, which posts. So does its button "Show": no CSRF token gets into an address.
    """
    chosen = {name: request.POST[name] for name in FlightFilter.base_fields if request.POST.get(name)}
    return f"{reverse('home')}?{urlencode(chosen)}#flights"

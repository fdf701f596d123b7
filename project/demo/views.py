from urllib.parse import urlencode

from csp.constants import NONE, SELF, UNSAFE_INLINE
from csp.decorators import csp
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.templatetags.static import static
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.http import require_http_methods, require_safe

from project.demo.forms import FlightFilter
from project.demo.mails import mails_of
from project.demo.models import Flight
from project.demo.tables import table_of


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def home(request: HttpRequest) -> HttpResponse:
    """Show the flights that match the filter in the URL, the form that exports them, and the user's exports."""
    if request.method == "POST":
        # The filter is the form of the export, which uses POST; so does its button "Show". The redirect keeps the CSRF
        # token out of the URL.
        chosen = {name: request.POST[name] for name in FlightFilter.base_fields if request.POST.get(name)}
        return redirect(f"{reverse('home')}?{urlencode(chosen)}#flights")
    chosen = FlightFilter(request.GET)
    flights = Flight.objects.matching(chosen.cleaned_data) if chosen.is_valid() else Flight.objects.none()
    table = table_of(flights, sort=request.GET.get("sort", ""), page=request.GET.get("page"))
    return render(request, "demo/home.html", {"filter": chosen, "table": table})


@require_safe
@never_cache
@login_required
def mails(request: HttpRequest) -> HttpResponse:
    """Show the mails that the site would send: to the user, or for staff to anyone."""
    return render(request, "demo/mails.html", {"mails": mails_of(request.user), "is_sent": settings.MAILS_DIR is None})


@require_safe
@never_cache
@login_required
@xframe_options_sameorigin
@csp(
    {
        "default-src": [NONE],
        "style-src": [UNSAFE_INLINE],
        "frame-ancestors": [SELF],
        "form-action": [NONE],
        "base-uri": [NONE],
    }
)
def mail(request: HttpRequest, key: str) -> HttpResponse:
    """Answer with the HTML part of one of these mails, as a mail program shows it: without scripts, with its styles."""
    found = next((each for each in mails_of(request.user) if each.key == key), None)
    if found is None:
        raise Http404
    return HttpResponse(found.html)


def favicon(request: HttpRequest) -> HttpResponse:
    """Redirect to the icon. Browsers ask here for pages that name none, such as the admin's."""
    return redirect(static("site.svg"))

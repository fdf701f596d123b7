"""The pages of a user's webhooks: create one, see its messages, send them again, replace its secret, delete it.

They are for people: a program with a token cannot change where messages go.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django import forms
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from exports.access.authentication import carries_token
from exports.conf import config, url_of
from exports.exceptions import TransitionNotAllowed
from exports.exporters import permissions, registry
from exports.http import bodies
from exports.http.actors import actor_of, record_refusal
from exports.http.bodies import wants_json
from exports.http.decorators import signed_in
from exports.http.history import title_of_type
from exports.http.refusals import error_response, refusal_response
from exports.models import AccessToken, AuditEntry, Webhook, WebhookDelivery
from exports.models.request import AnyUser
from exports.state import rfc3339
from exports.webhooks import addresses, signatures, verbs

PAGE_SIZE = 20
MAX_WEBHOOKS = 20

View = Callable[..., HttpResponseBase]


class WebhookForm(forms.Form):
    """Where the messages go, and about which exports."""

    url = forms.CharField(
        label=_("Address"),
        required=False,
        max_length=addresses.MAX_URL_LENGTH,
        widget=forms.URLInput,
        help_text=_("Leave it empty for a secret that signs the messages to the callback_url of single requests."),
    )
    exporters = forms.MultipleChoiceField(
        label=_("Only these exports"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=_("Choose none to be told of all."),
    )
    token = forms.ModelChoiceField(
        label=_("Ends with the API token"), required=False, queryset=AccessToken.objects.none(), empty_label=_("none")
    )

    def __init__(self, *args: Any, user: AnyUser, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user
        offered = [
            (name, title_of_type(name))
            for name in registry.handlers
            if registry.is_offered(name) and permissions.may_open_form(user, registry.find_exporter(name))
        ]
        self.fields["exporters"].choices = sorted(offered, key=lambda choice: choice[1])  # type: ignore[attr-defined]
        self.fields["token"].queryset = AccessToken.objects.valid().filter(owner=user.pk)  # type: ignore[attr-defined]

    def clean_url(self) -> str:
        url: str = self.cleaned_data["url"]
        if url:
            try:
                addresses.check_url(url)
            except ValueError as error:
                raise forms.ValidationError(str(error)) from None
        return url

    def clean(self) -> None:
        if Webhook.objects.owned_by(self.user).count() >= MAX_WEBHOOKS:
            message = _("You have {count} webhooks and may have no more.")
            raise forms.ValidationError(str(message).format(count=MAX_WEBHOOKS))


def for_people(view: View) -> View:
    """Require a user who is signed in without a token. Answer 404 on a site without webhooks."""

    @signed_in
    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not config.WEBHOOKS:
            raise Http404
        if carries_token(request):
            record_refusal(request, AuditEntry.Verb.WEBHOOK)
            return error_response(403, "not_allowed", str(_("An API token cannot change webhooks.")))
        return view(request, *args, **kwargs)

    return wrapper


@require_http_methods(["GET", "HEAD", "POST"])
@for_people
def list_view(request: HttpRequest) -> HttpResponse:
    """List the user's webhooks (GET), or create one and show its secret, once (POST)."""
    if request.method != "POST":
        own = Webhook.objects.owned_by(request.user)
        if wants_json(request):
            return JsonResponse({"webhooks": [as_json(each) for each in own]})
        return _render_list(request, WebhookForm(user=request.user))
    bodies.refuse_unknown_fields(request, WebhookForm.base_fields)
    form = WebhookForm(request.POST, user=request.user)
    if not form.is_valid():
        if wants_json(request):
            fields = {name: [str(each) for each in errors] for name, errors in form.errors.items()}
            return error_response(400, "invalid_webhook", str(_("Please correct the marked fields.")), fields=fields)
        return _render_list(request, form, status=400)
    chosen = form.cleaned_data
    webhook = verbs.create(
        request.user, chosen["url"], actor_of(request), exporters=chosen["exporters"], token=chosen["token"]
    )
    return _with_secret(request, webhook, status=201)


@require_safe
@for_people
def webhook_view(request: HttpRequest, pk: int) -> HttpResponse:
    """Show one webhook and its messages, newest first."""
    return _render_webhook(request, _own(request, pk))


@require_POST
@for_people
def rotate_view(request: HttpRequest, pk: int) -> HttpResponse:
    """Replace the secret of a webhook and show the new one, once."""
    bodies.refuse_unknown_fields(request)
    webhook = _own(request, pk)
    verbs.rotate(webhook, actor_of(request))
    return _with_secret(request, webhook)


@require_POST
@for_people
def enable_view(request: HttpRequest, pk: int) -> HttpResponse:
    """Let a webhook send again."""
    return _change(request, pk, verbs.enable)


@require_POST
@for_people
def disable_view(request: HttpRequest, pk: int) -> HttpResponse:
    """Let a webhook send nothing."""
    return _change(request, pk, verbs.disable)


@require_POST
@for_people
def delete_view(request: HttpRequest, pk: int) -> HttpResponse:
    """Delete a webhook with its messages."""
    bodies.refuse_unknown_fields(request)
    verbs.delete(_own(request, pk), actor_of(request))
    return HttpResponse(status=204) if wants_json(request) else _see(url_of("webhooks"))


@require_POST
@for_people
def send_again_view(request: HttpRequest, pk: int) -> HttpResponse:
    """Send a message once more that was sent or given up."""
    bodies.refuse_unknown_fields(request)
    own = WebhookDelivery.objects.filter(webhook__in=Webhook.objects.owned_by(request.user))
    delivery = get_object_or_404(own.select_related("webhook", "request"), pk=pk)
    try:
        verbs.send_again(delivery, actor_of(request))
    except TransitionNotAllowed as error:
        return refusal_response(request, error)
    delivery.refresh_from_db()
    if wants_json(request):
        return JsonResponse(delivery_as_json(delivery))
    return _see(url_of("webhook", delivery.webhook_id))


# Any: values of JSON.
def as_json(webhook: Webhook) -> dict[str, Any]:
    """Return a webhook without its secret."""
    return {
        "id": webhook.pk,
        "url": webhook.url,
        "exporters": webhook.exporters,
        "token": str(webhook.token) if webhook.token else None,
        "is_active": webhook.is_active,
        "failing_since": rfc3339(webhook.failing_since),
        "disabled_at": rfc3339(webhook.disabled_at),
    }


def delivery_as_json(delivery: WebhookDelivery) -> dict[str, Any]:
    """Return what is known of a message, but not the message, which is made when it is sent."""
    return {
        "id": delivery.pk,
        "webhook_id": delivery.message_id,
        "event": delivery.event,
        "export": str(delivery.request_id),
        "url": delivery.url,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "happened_at": rfc3339(delivery.happened_at),
        "due_at": rfc3339(delivery.due_at) if delivery.settled_at is None else None,
        "response_status": delivery.response_status,
        "reason": delivery.reason,
    }


def _own(request: HttpRequest, pk: int) -> Webhook:
    return get_object_or_404(Webhook.objects.owned_by(request.user), pk=pk)


def _change(request: HttpRequest, pk: int, verb: Callable[..., None]) -> HttpResponse:
    bodies.refuse_unknown_fields(request)
    webhook = _own(request, pk)
    verb(webhook, actor_of(request))
    return JsonResponse(as_json(webhook)) if wants_json(request) else _see(url_of("webhook", pk))


@sensitive_variables("secret")
def _with_secret(request: HttpRequest, webhook: Webhook, *, status: int = 200) -> HttpResponse:
    secret = signatures.secret_of(webhook)
    if wants_json(request):
        return JsonResponse({**as_json(webhook), "secret": secret}, status=status)
    return _render_webhook(request, webhook, secret=secret, status=status)


def _render_list(request: HttpRequest, form: WebhookForm, *, status: int = 200) -> HttpResponse:
    context = {"webhooks": Webhook.objects.owned_by(request.user).select_related("token"), "form": form}
    return render(request, "exports/webhooks.html", context, status=status)


@sensitive_variables("secret", "context")
def _render_webhook(request: HttpRequest, webhook: Webhook, *, secret: str = "", status: int = 200) -> HttpResponse:
    deliveries = webhook.deliveries.select_related("request").order_by("-pk")
    page = Paginator(deliveries, PAGE_SIZE).get_page(request.GET.get("page"))
    if wants_json(request):
        found = [delivery_as_json(each) for each in page]
        pages = {"page": page.number, "pages": page.paginator.num_pages}
        return JsonResponse({**as_json(webhook), "deliveries": found, **pages})
    titles = [title_of_type(name) for name in webhook.exporters]
    context = {"webhook": webhook, "secret": secret, "titles": titles, "page": page}
    return render(request, "exports/webhook.html", context, status=status)


def _see(url: str) -> HttpResponseRedirect:
    response = HttpResponseRedirect(url)
    response.status_code = 303
    return response

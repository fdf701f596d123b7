"""The API tokens of a user: list them, make one and show it once, revoke one; as a page or as JSON.

Only a signed-in user does this, never a token: one that leaked could make others that outlive it.
"""

from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any

from django import forms
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods, require_POST

from exports.access import tokens
from exports.access.authentication import carries_token
from exports.conf import DAY, config, url_of
from exports.exceptions import InvalidForm
from exports.exporters import permissions, registry
from exports.http import bodies
from exports.http.actors import actor_of, record_refusal
from exports.http.bodies import wants_json
from exports.http.decorators import signed_in
from exports.http.history import title_of_type
from exports.http.refusals import error_response, refusal_response
from exports.models import AccessToken, AuditEntry
from exports.models.request import AnyUser
from exports.state import rfc3339

MAX_TOKENS = 50
"""How many valid tokens a user may have."""

DEFAULT_DAYS = 90
MAX_DAYS = 36_500


class TokenForm(forms.Form):
    """What a new token is for. It opens the types that its user may request now, or all if none is chosen."""

    name = forms.CharField(label=gettext_lazy("Name"), max_length=60)
    can_create = forms.BooleanField(
        label=gettext_lazy("May request, change and delete exports, not only read them"), required=False
    )
    types = forms.MultipleChoiceField(
        label=gettext_lazy("Only these types (none chosen: all)"), required=False, widget=forms.CheckboxSelectMultiple
    )

    def __init__(self, *args: Any, user: AnyUser, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.valid = AccessToken.objects.of_tenant().valid().filter(owner=user.pk)
        # Without a choice there is nothing to ask.
        if types := types_for(user):
            self.fields["types"].choices = types  # type: ignore[attr-defined]
        else:
            del self.fields["types"]
        longest = config.ACCESS_TOKEN_MAX_AGE_SECONDS
        most = MAX_DAYS if longest is None else max(int(longest // DAY), 1)
        self.fields["days"] = forms.IntegerField(
            label=_("Valid for days") if longest is not None else _("Valid for days (empty: without an end)"),
            min_value=1,
            max_value=most,
            required=longest is not None,
            initial=min(DEFAULT_DAYS, most),
        )

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if self.valid.filter(name=name).exists():
            raise forms.ValidationError(_("You have a token of this name already."))
        return name

    def clean(self) -> None:
        if self.valid.count() >= MAX_TOKENS:
            raise forms.ValidationError(
                _("You have {count} tokens and may have no more.").format(count=MAX_TOKENS), code="too_many"
            )


def types_for(user: AnyUser) -> list[tuple[str, str]]:
    """Return the file types whose form this user may open, with their titles."""
    offered = [name for name in registry.handlers if registry.is_offered(name)]
    mine = [name for name in offered if permissions.may_open_form(user, registry.find_exporter(name))]
    return sorted(((name, title_of_type(name)) for name in mine), key=lambda choice: choice[1])


def by_users(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Answer 404 on a site without tokens, and 403 to a request that carries a token."""

    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not config.ACCESS_TOKENS:
            raise Http404
        if carries_token(request):
            record_refusal(request, AuditEntry.Verb.TOKEN)
            return error_response(403, "not_allowed", _("A token can neither make nor revoke tokens. Sign in instead."))
        return view(request, *args, **kwargs)

    return wrapper


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
@by_users
def tokens_view(request: HttpRequest) -> HttpResponse:
    """List the user's tokens, or make one (POST). Its text is in the response to that POST and nowhere else."""
    form = TokenForm(request.POST if request.method == "POST" else None, user=request.user)
    if request.method != "POST":
        return _page(request, form)
    bodies.refuse_unknown_fields(request, form.fields)
    if not form.is_valid():
        if wants_json(request):
            return refusal_response(request, InvalidForm("The token is not valid.", form=form))
        return _page(request, form, status=400)
    days = form.cleaned_data["days"]
    token, text = tokens.create(
        request.user,
        form.cleaned_data["name"],
        actor_of(request),
        can_create=form.cleaned_data["can_create"],
        exporters=form.cleaned_data.get("types", ()),
        expires_at=None if days is None else timezone.now() + timedelta(days=days),
    )
    if wants_json(request):
        return JsonResponse({**as_json(token), "token": text}, status=201)
    return _page(request, TokenForm(user=request.user), text=text)


@require_POST
@signed_in
@by_users
def revoke_token_view(request: HttpRequest, pk: int) -> HttpResponse:
    """Revoke one of the user's own tokens; one that is revoked already stays so."""
    bodies.refuse_unknown_fields(request)
    token = get_object_or_404(AccessToken.objects.of_tenant(), pk=pk, owner=request.user.pk)
    tokens.revoke(token, actor_of(request))
    if wants_json(request):
        return JsonResponse(as_json(token))
    return HttpResponseRedirect(url_of("tokens"), status=303)


def as_json(token: AccessToken) -> dict[str, Any]:
    """Return what a user may know of a token, without its text. Any: values of JSON."""
    return {
        "id": token.pk,
        "name": token.name,
        "begins_with": token.prefix,
        "can_create": token.can_create,
        "types": token.exporters,
        "created_at": rfc3339(token.created_at),
        "expires_at": rfc3339(token.expires_at),
        "last_used_at": rfc3339(token.last_used_at),
        "revoked_at": rfc3339(token.revoked_at),
    }


def _page(request: HttpRequest, form: TokenForm, *, status: int = 200, text: str = "") -> HttpResponse:
    """Return the list of tokens with this form; `text` is that of a token that was just made."""
    own = AccessToken.objects.of_tenant().filter(owner=request.user.pk)
    if wants_json(request):
        return JsonResponse({"tokens": [as_json(token) for token in own]})
    shown = [(token, [title_of_type(name) for name in token.exporters]) for token in own]
    context = {"form": form, "tokens": shown, "text": text}
    return render(request, "exports/tokens.html", context, status=status)

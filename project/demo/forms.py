from typing import Any

from django import forms
from django.utils.dates import MONTHS
from django.utils.translation import gettext_lazy as _

from project.demo.models import NEW_YORK_AIRPORTS, Airline, Airport


def month_field(label: str, empty_label: str) -> forms.TypedChoiceField:
    choices = [("", empty_label), *MONTHS.items()]
    return forms.TypedChoiceField(label=label, choices=choices, coerce=int, empty_value=None, required=False)


class FlightFilter(forms.Form):
    """Filter the flights; an empty field sets no limit."""

    template_name = "demo/filter.html"

    month_from = month_field(_("From month"), _("The first"))
    month_to = month_field(_("To month"), _("The last"))
    origin = forms.ModelChoiceField(
        Airport.objects.filter(faa__in=NEW_YORK_AIRPORTS),
        label=_("Airport"),
        empty_label=_("All airports"),
        required=False,
    )
    carrier = forms.ModelChoiceField(
        Airline.objects.all(), label=_("Airline"), empty_label=_("All airlines"), required=False
    )

    def clean(self) -> dict[str, Any]:
        first, last = self.cleaned_data.get("month_from"), self.cleaned_data.get("month_to")
        if first and last and first > last:
            self.add_error("month_to", _("Choose a month that is not before the first one."))
        return self.cleaned_data


class WeatherFilter(forms.Form):
    origin = forms.ModelChoiceField(
        Airport.objects.filter(faa__in=NEW_YORK_AIRPORTS),
        label=_("Airport"),
        empty_label=_("All airports"),
        required=False,
    )

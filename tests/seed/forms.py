from django import forms
from django.db.models import QuerySet

from tests.seed.models import LoginEvent


class LoginExportFilterForm(forms.Form):
    from_date = forms.DateField()
    until_date = forms.DateField(required=False)

    def apply_filters(self, queryset: QuerySet[LoginEvent]) -> QuerySet[LoginEvent]:
        """Apply the filters to our initial queryset."""
        data = self.cleaned_data
        queryset = queryset.filter(created_at__date__gte=data["from_date"])
        until_date = data.get("until_date")
        if until_date:
            queryset = queryset.filter(created_at__date__lte=until_date)
        return queryset

"""The model of the benchmark: ten columns of several types, and the same table with custom fields."""

from typing import ClassVar

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

TABLE = "bench_row"
COLUMNS = ("id", "name", "note", "amount", "ratio", "active", "day", "created", "attributes", "owner")


class UpperCaseField(models.CharField):
    """A field whose values only Python can make: the text of the database in capital letters."""

    def from_db_value(self, value: str | None, expression: object, connection: BaseDatabaseWrapper) -> str | None:
        return None if value is None else value.upper()


class TenColumns(models.Model):
    id = models.IntegerField(primary_key=True)
    name = models.CharField(max_length=100)
    note = models.CharField(max_length=200)
    amount = models.DecimalField(max_digits=10, decimal_places=2)
    ratio = models.FloatField()
    active = models.BooleanField()
    day = models.DateField()
    created = models.DateTimeField()
    attributes = models.JSONField()
    owner = models.IntegerField(null=True)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.name

    def label(self) -> str:
        """Return a text that needs an instance of the model."""
        return f"{self.name} ({self.owner or 'nobody'})"


class Row(TenColumns):
    class Meta:
        db_table = TABLE


class RowWithCustomField(TenColumns):
    """The same table, in which `name` passes through Python."""

    name = UpperCaseField(max_length=100)

    class Meta:
        db_table = TABLE
        managed: ClassVar[bool] = False


def custom(field: type[models.Field]) -> type[models.Field]:
    """Return a subclass of a field whose values pass through Python."""
    usual = getattr(field, "from_db_value", None)

    def same(self: models.Field, value: object, expression: object, connection: BaseDatabaseWrapper) -> object:
        return value

    def loaded(self: models.Field, value: object, expression: object, connection: BaseDatabaseWrapper) -> object:
        return usual(self, value, expression, connection)

    return type(f"Custom{field.__name__}", (field,), {"from_db_value": loaded if usual else same})


class RowOfCustomFields(TenColumns):
    """The same table, in which every column passes through Python."""

    id = custom(models.IntegerField)(primary_key=True)
    name = custom(models.CharField)(max_length=100)
    note = custom(models.CharField)(max_length=200)
    amount = custom(models.DecimalField)(max_digits=10, decimal_places=2)
    ratio = custom(models.FloatField)()
    active = custom(models.BooleanField)()
    day = custom(models.DateField)()
    created = custom(models.DateTimeField)()
    attributes = custom(models.JSONField)()
    owner = custom(models.IntegerField)(null=True)

    class Meta:
        db_table = TABLE
        managed: ClassVar[bool] = False

"""The tables of the shop, a table with every kind of field."""

import uuid
from typing import Any

from django.contrib.contenttypes.fields import GenericForeignKey
from django.contrib.contenttypes.models import ContentType
from django.db import models


class Customer(models.Model):
    class Tier(models.TextChoices):
        BASIC = "basic", "Basic"
        GOLD = "gold", "Gold"

    name = models.CharField("full name", max_length=100)
    city = models.CharField(max_length=100, blank=True)
    tier = models.CharField(max_length=10, choices=Tier.choices, default=Tier.BASIC)

    def __str__(self) -> str:
        return self.name


class Order(models.Model):
    number = models.CharField("order number", max_length=40)
    customer = models.ForeignKey(Customer, models.CASCADE, null=True, related_name="orders")
    status = models.CharField(max_length=20, choices=[("open", "Open"), ("sent", "Sent")], default="open")
    note = models.TextField(blank=True)
    quantity = models.IntegerField(null=True)
    units = models.BigIntegerField(null=True)
    price = models.DecimalField(max_digits=20, decimal_places=2, null=True)
    weight = models.FloatField("weight (kg)", null=True)
    is_paid = models.BooleanField("paid", default=False)
    ordered_on = models.DateField(null=True)
    placed_at = models.DateTimeField(null=True)
    opens_at = models.TimeField(null=True)
    preparation = models.DurationField(null=True)
    details = models.JSONField(null=True)
    reference = models.UUIDField(default=uuid.uuid4)

    def __str__(self) -> str:
        return self.number


class SortedOrder(Order):
    class Meta:
        proxy = True
        ordering = ("-quantity",)


class ShoutedField(models.CharField):
    """A field with its own conversion."""

    def from_db_value(self, value: str | None, *args: Any) -> str | None:
        return value and value.upper()


class EveryField(models.Model):
    """A field of every kind."""

    small = models.SmallIntegerField(null=True)
    big = models.BigIntegerField(null=True)
    positive = models.PositiveIntegerField(null=True)
    price = models.DecimalField(max_digits=20, decimal_places=2, null=True)
    share = models.DecimalField(max_digits=12, decimal_places=9, null=True)
    whole = models.DecimalField(max_digits=15, decimal_places=0, null=True)
    weight = models.FloatField(null=True)
    flag = models.BooleanField(null=True)
    day = models.DateField(null=True)
    moment = models.DateTimeField(null=True)
    clock = models.TimeField(null=True)
    text = models.TextField(null=True)  # noqa: DJ001
    name = models.CharField(max_length=100)
    slug = models.SlugField(null=True)  # noqa: DJ001
    address = models.GenericIPAddressField(null=True)
    file = models.FileField(null=True)
    reference = models.UUIDField(null=True)
    details = models.JSONField(null=True)
    customer = models.ForeignKey(Customer, models.CASCADE, null=True, related_name="+")
    took = models.DurationField(null=True)
    content = models.BinaryField(null=True)
    shouted = ShoutedField(max_length=100, null=True)
    doubled = models.GeneratedField(
        expression=models.F("small") * 2, output_field=models.IntegerField(null=True), db_persist=True
    )

    def __str__(self) -> str:
        return self.name


class Remark(models.Model):
    row = models.OneToOneField(EveryField, models.CASCADE)
    text = models.TextField()

    def __str__(self) -> str:
        return self.text


class Tag(models.Model):
    name = models.CharField(max_length=100)

    class Meta:
        permissions = (("export_tag", "Can export tags"),)

    def __str__(self) -> str:
        return self.name


class Book(models.Model):
    """A book whose author and whose first part may be missing, as no constraint of the database holds them."""

    title = ShoutedField(max_length=100)
    pages = models.IntegerField()
    author = models.ForeignKey(Customer, models.DO_NOTHING, db_constraint=False, related_name="+")
    first_part = models.ForeignKey("self", models.DO_NOTHING, null=True, db_constraint=False)
    tags = models.ManyToManyField(Tag)

    def __str__(self) -> str:
        return self.title


class Label(models.Model):
    """A text about an object of any model."""

    text = models.CharField(max_length=100)
    # PostgreSQL has no table of content types yet when those of this app, which has no migrations, are created.
    content_type = models.ForeignKey(ContentType, models.CASCADE, db_constraint=False)
    object_id = models.PositiveIntegerField()
    target = GenericForeignKey()

    def __str__(self) -> str:
        return self.text


class Seat(models.Model):
    pk = models.CompositePrimaryKey("line", "number")
    line = models.CharField(max_length=5)
    number = models.IntegerField()

    def __str__(self) -> str:
        return f"{self.line}{self.number}"

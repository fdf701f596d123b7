import uuid

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

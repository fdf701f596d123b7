from django.db import models


class Parcel(models.Model):
    number = models.IntegerField(primary_key=True)
    name = models.CharField(max_length=200)
    price = models.DecimalField(max_digits=12, decimal_places=2)
    day = models.DateField()

    def __str__(self) -> str:
        return self.name

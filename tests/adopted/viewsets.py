"""Viewsets of Django REST framework in the shapes that public projects have."""

from typing import Any

import django_filters
from django.db.models import QuerySet
from django.urls import include, path
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework import filters, permissions, routers, serializers, viewsets

from tests.shop.models import Book, Customer, Order, Tag


class CustomerSerializer(serializers.ModelSerializer):
    class Meta:
        model = Customer
        fields = ("name", "city")


class OrderSerializer(serializers.ModelSerializer):
    customer = CustomerSerializer()
    status_label = serializers.CharField(source="get_status_display")
    is_large = serializers.SerializerMethodField()
    secret = serializers.CharField(write_only=True)

    class Meta:
        model = Order
        fields = (
            "id", "number", "customer", "status", "status_label", "price", "is_paid", "ordered_on", "placed_at",
            "is_large", "secret", "details",
        )  # fmt: skip

    def get_is_large(self, order: Order) -> bool:
        return (order.quantity or 0) > 10


class OrderFilter(django_filters.FilterSet):
    class Meta:
        model = Order
        fields = {"status": ["exact"], "quantity": ["gte"]}  # noqa: RUF012  # As documented.


class OrderViewSet(viewsets.ModelViewSet):
    """Filters, a search, an ordering, pages, and rows that depend on the user."""

    queryset = Order.objects.select_related("customer")
    serializer_class = OrderSerializer
    permission_classes = (permissions.DjangoModelPermissions,)
    filter_backends = (DjangoFilterBackend, filters.SearchFilter, filters.OrderingFilter)
    filterset_class = OrderFilter
    search_fields = ("number", "customer__name")
    ordering_fields = ("quantity", "number")
    ordering = ("number",)

    def get_queryset(self) -> QuerySet[Order]:
        orders = super().get_queryset()
        return orders if self.request.user.is_staff else orders.filter(is_paid=True)


class BookSerializer(serializers.ModelSerializer):
    tags = serializers.SlugRelatedField(many=True, read_only=True, slug_field="name")

    class Meta:
        model = Book
        fields = ("title", "pages", "author", "tags")

    def to_representation(self, book: Book) -> dict[str, Any]:
        shown = super().to_representation(book)
        shown["title"] = shown["title"].title()
        return shown


class BookViewSet(viewsets.ReadOnlyModelViewSet):
    queryset = Book.objects.prefetch_related("tags").order_by("pk")
    permission_classes = (permissions.IsAdminUser,)

    def get_serializer_class(self) -> type[serializers.BaseSerializer]:
        return BookSerializer if self.action == "list" else serializers.Serializer


class TagSerializer(serializers.ModelSerializer):
    class Meta:
        model = Tag
        fields = ("name",)


class TaggedSerializer(serializers.ModelSerializer):
    tags = TagSerializer(many=True)

    class Meta:
        model = Book
        fields = ("title", "tags")


class TaggedViewSet(viewsets.ReadOnlyModelViewSet):
    """Rows that have lists of objects."""

    queryset = Book.objects.prefetch_related("tags").order_by("pk")
    serializer_class = TaggedSerializer
    permission_classes = (permissions.IsAdminUser,)


router = routers.DefaultRouter()
router.register("orders", OrderViewSet)
router.register("books", BookViewSet)
urlpatterns = [path("api/", include(router.urls)), path("exports/", include("exports.urls"))]

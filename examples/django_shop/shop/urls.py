"""Two routes: place an order, look at one."""

from __future__ import annotations

import json

from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.urls import path

from examples.django_shop.shop.models import Order
from examples.django_shop.shop.tasks import order_placed


def place(request: HttpRequest) -> JsonResponse:
    """``POST /orders`` with ``{"item": …}``; an item called ``nothing`` is refused, and its run with it."""
    item = json.loads(request.body)["item"]
    try:
        with transaction.atomic():
            order = Order.objects.create(item=item)
            order_placed(order)
            if item == "nothing":
                raise ValueError("there is no such item")
    except ValueError as refused:
        return JsonResponse({"error": str(refused)}, status=422)
    return JsonResponse({"id": order.pk}, status=201)


def look(request: HttpRequest, order_id: int) -> JsonResponse:
    """``GET /orders/ID``."""
    order = Order.objects.get(pk=order_id)
    return JsonResponse({"id": order.pk, "item": order.item, "receipt": order.receipt})


urlpatterns = [path("orders", place), path("orders/<int:order_id>", look)]

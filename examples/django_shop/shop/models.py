"""Orders as Django stores them."""

from __future__ import annotations

from django.db import models


class Order(models.Model):  # type: ignore[misc]  # Django has no types
    """One order; ``receipt`` is empty until it was sent."""

    item = models.CharField(max_length=100)
    receipt = models.CharField(max_length=100, default="")

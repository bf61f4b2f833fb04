"""A shop on Django: orders in Django's tables, receipts sent by Mainspring. ``python -m examples.django_shop.manage``."""

"""Django: an app made from ``settings.MAINSPRING``, tasks found in each ``tasks.py``, connections closed round attempts.

    INSTALLED_APPS = [..., "mainspring.integrations.django"]
    MAINSPRING = {"name": "shop", "database": "default"}

``from mainspring.integrations.django import app`` is that app: the same object everywhere, made at first use. Not here: what
``django.tasks`` needs (``backend``), and how a Django transaction is joined (``store/foreign``).
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mainspring.app import App

    app: App

__all__ = ["app"]


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mainspring.integrations.django.settings import the_app

    return the_app()

"""Settings of the shop. ``SHOP_DATABASE`` is a PostgreSQL URL; without one, two SQLite files in ``SHOP_HOME``."""

from __future__ import annotations

import os
from urllib.parse import unquote, urlsplit

HOME = os.environ.get("SHOP_HOME", ".")
url = urlsplit(os.environ.get("SHOP_DATABASE", ""))

if url.scheme:
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": url.path[1:],
            "USER": url.username,
            "PASSWORD": unquote(url.password or ""),
            "HOST": url.hostname,
            "PORT": url.port,
        }
    }
    MAINSPRING = {"name": "shop", "database": "default"}  # the same database: orders and runs share transactions
else:
    DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{HOME}/shop.db"}}
    MAINSPRING = {"name": "shop", "database": f"sqlite:///{HOME}/jobs.db"}  # a file of its own: one SQLite library for each file

INSTALLED_APPS = ["mainspring.integrations.django", "examples.django_shop.shop"]
MIDDLEWARE: list[str] = []
ROOT_URLCONF = "examples.django_shop.shop.urls"
ALLOWED_HOSTS = ["testserver", "127.0.0.1"]
SECRET_KEY = "an example needs no secret"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True

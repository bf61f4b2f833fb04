"""Apps on both databases; see ``tests/api/conftest.py``."""

from __future__ import annotations

from tests.api.conftest import NewApp, app, drain, new_app, pytest_generate_tests, url

__all__ = ["NewApp", "app", "drain", "new_app", "pytest_generate_tests", "url"]

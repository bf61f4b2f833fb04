"""``manage.py mainspring_migrate``: bring Mainspring's tables to this code's schema. As ``mainspring db migrate``."""

from typing import Any

from django.core.management.base import BaseCommand

from mainspring.integrations.django.settings import the_app


class Command(BaseCommand):  # type: ignore[misc]  # Django has no types
    """The command."""

    help = "Create Mainspring's tables, or bring them up to date."

    def handle(self, *args: Any, **options: Any) -> None:
        """Migrate."""
        app = the_app()
        try:
            steps = app.migrate()
        finally:
            app.close()
        self.stdout.write("\n".join(f"applied {step}" for step in steps) or "nothing to apply")

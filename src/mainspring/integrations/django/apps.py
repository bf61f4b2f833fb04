"""The Django application: finds the tasks of every other one, in its module ``tasks``."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class MainspringConfig(AppConfig):  # type: ignore[misc]  # Django has no types
    """``mainspring.integrations.django`` in ``INSTALLED_APPS``."""

    name = "mainspring.integrations.django"
    label = "mainspring"
    verbose_name = "Mainspring"

    def ready(self) -> None:
        """Import ``tasks`` of each installed application, so that a worker knows them."""
        autodiscover_modules("tasks")
        _load_backends()


def _load_backends() -> None:
    """Have a worker know what ``django.tasks`` enqueues, if that is how ``settings.TASKS`` wants it."""
    from django.conf import settings

    told = getattr(settings, "TASKS", {})
    if not any("mainspring" in one.get("BACKEND", "") for one in told.values()):
        return
    try:
        from django.tasks import task_backends
    except ImportError:  # Django before 6
        from django_tasks import task_backends
    for alias in told:
        _ = task_backends[alias]

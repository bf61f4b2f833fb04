"""``manage.py mainspring_worker``: run the project's tasks in this process until told to stop. As ``mainspring worker``."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from mainspring.integrations.django.settings import the_app


class Command(BaseCommand):  # type: ignore[misc]  # Django has no types
    """The command."""

    help = "Run tasks until SIGTERM or Ctrl-C: then nothing new is begun and what runs may end."
    requires_system_checks: list[str] = []  # noqa: RUF012  # as Django spells it

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The options of a worker."""
        parser.add_argument("--queue", "-q", action="append", help="Serve this queue only; may be repeated.")
        parser.add_argument("--concurrency", "-c", type=int, default=16, help="Attempts that run at once.")
        parser.add_argument("--poll", default="1s", help="How often to look for work that nobody told of.")
        parser.add_argument("--lease", default="30s", help="How long runs stay ours without a sign of life.")
        parser.add_argument("--grace", default="30s", help="How long running attempts may take to end at a stop.")
        parser.add_argument("--metrics-port", type=int, help="Serve Prometheus metrics on this port of the loopback address.")
        parser.add_argument("--drain", action="store_true", help="Stop when nothing is due.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Work."""
        app = the_app()
        worker = app.worker(
            queues=options["queue"],
            concurrency=options["concurrency"],
            poll=options["poll"],
            lease=options["lease"],
            grace=options["grace"],
            metrics_port=options["metrics_port"],
        )
        try:
            report = worker.run(until="drained" if options["drain"] else "stopped")
        finally:
            app.close()
        self.stdout.write(f"worker stopped: {report.finished} attempts finished")
        if report.worn_out:
            raise SystemExit(75)

"""``django.tasks`` over Mainspring, where the installed Django has it or the package ``django-tasks`` is there."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from tests.support.services import miss

SCENE = Path(__file__).with_name("django_tasks_scene.py")


def has_tasks() -> bool:
    """Looked for without importing Django, which is for one program each."""
    return any(importlib.util.find_spec(name) is not None for name in ("django.tasks", "django_tasks"))


def test_django_tasks_run_as_runs(fresh_postgres: str) -> None:
    if not has_tasks():
        miss("django.tasks", "Django 6 (Python 3.12), or pip install django-tasks")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(SCENE.parents[2]), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", f"tests.integrations.{SCENE.stem}", fresh_postgres]
    subprocess.run([*command[:1], "-m", "mainspring", "--db", fresh_postgres, "db", "migrate"], check=True, capture_output=True)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert done.returncode == 0, done.stderr

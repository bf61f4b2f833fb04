"""Django: its transactions, its connections, its settings. Each scene of ``django_scenes.py`` in a process of its own.

Not here: the example project (``tests/examples/test_django_shop.py``).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCENES = Path(__file__).with_name("django_scenes.py")


def play(scene: str, url: str, home: Path) -> None:
    command = [sys.executable, "-W", "error", "-m", f"tests.integrations.{SCENES.stem}", scene, url, str(home)]
    environment = os.environ | {"PYTHONPATH": str(SCENES.parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("scene", ["atomic", "hints", "refused", "closes", "concludes", "configured", "awaited"])
def test_at_home_in_django(scene: str, fresh_postgres: str, tmp_path: Path) -> None:
    play(scene, fresh_postgres, tmp_path)

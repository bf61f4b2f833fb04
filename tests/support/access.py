"""Passwords that are quick to check: for tests of what is done with them, and not of how hard they are to guess."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import argon2
import pytest

from mainspring.codec import passwords

PASSWORD = "correct horse battery"


@contextmanager
def quick_passwords(*, passes: int = 1) -> Iterator[None]:
    """Hash with next to no memory while the block runs."""
    with pytest.MonkeyPatch.context() as patch:
        hasher = argon2.PasswordHasher(time_cost=passes, memory_cost=8, parallelism=1)
        patch.setattr(passwords, "_hasher", lambda: hasher)
        patch.setattr(passwords, "NOBODY", hasher.hash("nobody"))
        yield

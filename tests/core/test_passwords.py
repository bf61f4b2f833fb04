"""Hashes of passwords as they are made outside of tests: argon2id, with the parameters that the docs state."""

from __future__ import annotations

import subprocess
import sys

import argon2
import pytest

from mainspring.codec import passwords
from mainspring.errors import CapabilityUnsupported


def test_a_password_is_hashed_with_argon2id_and_the_stated_parameters() -> None:
    stored = passwords.hashed("correct horse battery")
    assert stored.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert passwords.is_right("correct horse battery", stored)
    assert not passwords.is_right("correct horse batterz", stored)
    assert not passwords.is_outdated(stored)
    assert passwords.hashed("correct horse battery") != stored


def test_nobodys_hash_takes_as_long_as_anybodys() -> None:
    assert not passwords.is_outdated(passwords.NOBODY)
    assert not passwords.is_right("nobody", passwords.NOBODY)


def test_a_hash_with_other_parameters_is_outdated_and_still_right() -> None:
    old = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("correct horse battery")
    assert passwords.is_outdated(old)
    assert passwords.is_right("correct horse battery", old)


def test_without_argon2_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "argon2", None)
    with pytest.raises(CapabilityUnsupported, match=r"pip install 'mainspring\[passwords\]'"):
        passwords.hashed("correct horse battery")


def test_importing_mainspring_imports_no_argon2() -> None:
    asked = "import sys, mainspring, mainspring.cli.main; print([name for name in sys.modules if name.startswith('argon2')])"
    told = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"

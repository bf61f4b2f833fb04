"""The code about itself: what every file of the tree must be, whatever it says.

Here: rules that no linter has. Not here: what ruff, mypy and import-linter check already.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "mainspring"
MODULES = sorted(PACKAGE.rglob("*.py"))
STATEMENTS = sorted((PACKAGE / "store" / "sql").rglob("*.sql"))
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))

MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 60
#: How many times as long as asyncio, which most programs import anyway: machines differ. 150 ms where asyncio takes 45.
IMPORT_TIMES_ASYNCIO = 4.5

EMPTY_NAMES = {"utils", "util", "manager", "managers", "helper", "helpers", "base", "common", "misc"}
MAY_CATCH_ALL = {
    "runtime/driver.py",
    "runtime/executor.py",
    "runtime/collecting.py",  # the executor's: a function called with many payloads
    "runtime/attempt.py",  # the executor's: the call of a function in its thread
    "runtime/policing.py",  # a function of a back-off is the user's
    "operations/upkeep.py",  # a stage fails alone, of whatever
    "runtime/child.py",
    "runtime/outcomes.py",  # asks exceptions of user code for their text
    "core/loop.py",  # closes coroutines of the user's, whatever their clean-up raises
    "codec/upcasting.py",  # an upcaster is the user's
    "options.py",  # a function of the payload is the user's
    "transports/outgoing.py",  # a transport may be the user's, and must not end the thread that uses it
    "testing/simulator/simulation.py",  # a story among many: what it raises breaks a promise
    "store/sqlite.py",  # hands an error to the caller whose part of a group commit it was
}  # the last: the executor's half in a child
MAY_KNOW_DRIVERS = (
    "store/",
    "integrations/",
    "testing/postgres.py",
    "testing/invariants.py",
    "testing/standby.py",
    "importing/apscheduler.py",
    "importing/beat_tables.py",
    "cli/importing.py",
)  # files of others
MAY_READ_CONFIG = ("config.py", "app.py", "cli/", "client/targeting.py", "testing/", "__init__.py")
DRIVERS = {"apsw", "psycopg", "psycopg_pool", "asyncpg", "sqlalchemy", "sqlite3"}

UNFINISHED = re.compile("TO" + "DO|FIX" + "ME|XX" + "X")
ELSEWHERE = re.compile(r"/root/\w|/home/\w+/|/Users/\w+/|file:///\w|(?:pypi\.org|pythonhosted\.org|registry\.npmjs\.org)")

every_module = pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))


def name_of(module: Path) -> str:
    return module.relative_to(PACKAGE).as_posix()


def tree_of(module: Path) -> ast.Module:
    return ast.parse(module.read_text(encoding="utf-8"))


def imported(module: Path) -> Iterator[str]:
    """Full names of the modules that ``module`` imports, anywhere in it."""
    package = ["mainspring", *module.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(tree_of(module)):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=source, names=names, level=level):
                origin = [*package[: len(package) - level + 1], *([source] if source else [])] if level else [source or ""]
                yield from (f"{'.'.join(origin)}.{alias.name}" for alias in names)
            case _:
                pass


def committed() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        return [path for folder in ("src", "tests") for path in (ROOT / folder).rglob("*") if path.is_file()]
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="ignore")


@every_module
def test_every_module_opens_by_saying_what_lives_in_it(module: Path) -> None:
    text = ast.get_docstring(tree_of(module)) or ""
    assert len(text.split()) >= 5, "open with a docstring: what lives here, and what must not"


@every_module
def test_every_module_has_a_name_that_says_something(module: Path) -> None:
    assert module.stem not in EMPTY_NAMES
    assert len(module.stem) > 2


@every_module
def test_every_module_is_short_enough_to_read(module: Path) -> None:
    assert len(module.read_text().splitlines()) <= MAX_FILE_LINES


@every_module
def test_every_function_is_short_enough_to_see_at_once(module: Path) -> None:
    long = [
        f"{node.name} has {length} lines"
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or node.lineno) - node.lineno + 1) > MAX_FUNCTION_LINES
    ]
    assert not long


@every_module
def test_only_the_driver_and_the_executor_catch_everything(module: Path) -> None:
    if name_of(module) not in MAY_CATCH_ALL:
        assert not [ast.unparse(node) for node in ast.walk(tree_of(module)) if catches_everything(node)]


def catches_everything(node: ast.AST) -> bool:
    match node:
        case ast.ExceptHandler(type=None):
            return True
        case ast.ExceptHandler(type=kind, body=[*_, ast.Raise(exc=None)]):
            return names_in(kind) == {"Exception"}  # cleaning up on BaseException and raising it again is no catch
        case ast.ExceptHandler(type=kind):
            return bool(names_in(kind) & {"Exception", "BaseException"})
        case ast.Call(func=func, args=args) if names_in(func) & {"suppress"}:
            return any(names_in(arg) & {"Exception", "BaseException"} for arg in args)
        case _:
            return False


def names_in(node: ast.AST | None) -> set[str]:
    return set() if node is None else {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


@every_module
def test_core_imports_the_standard_library_and_itself(module: Path) -> None:
    if name_of(module).startswith("core/"):
        strangers = {
            name
            for name in imported(module)
            if name.split(".")[0] not in sys.stdlib_module_names and not name.startswith(("mainspring.core", "mainspring.errors"))
        }
        assert not strangers


@every_module
def test_only_the_store_knows_the_drivers(module: Path) -> None:
    if not name_of(module).startswith(MAY_KNOW_DRIVERS):
        assert not {name.split(".")[0] for name in imported(module)} & DRIVERS


@every_module
def test_only_what_is_configured_reads_the_configuration(module: Path) -> None:
    if not name_of(module).startswith(MAY_READ_CONFIG):
        assert not [name for name in imported(module) if name.startswith("mainspring.config")]


@pytest.mark.parametrize("file", STATEMENTS, ids=lambda path: path.name)
def test_every_statement_has_a_name_and_a_sentence(file: Path) -> None:
    preamble, *statements = re.split(r"^-- name:", file.read_text(), flags=re.MULTILINE)
    assert not [line for line in preamble.splitlines() if line.strip() and not line.startswith("--")], "SQL without name"
    names = [statement.splitlines()[0].strip() for statement in statements]
    assert len(names) == len(set(names))
    silent = [name for name, statement in zip(names, statements, strict=True) if not has_sentence(statement)]
    assert not silent, "follow `-- name:` with a comment: what the statement promises"


def has_sentence(statement: str) -> bool:
    following = statement.splitlines()[1:2]
    return bool(following) and re.match(r"--\s+(?!moves:)\S+(\s+\S+)+", following[0]) is not None


def test_nothing_is_left_for_later() -> None:
    code = [path for path in committed() if path.suffix in {".py", ".sql", ".sh", ".toml"} or path.name == "Makefile"]
    assert not [str(path.relative_to(ROOT)) for path in code if UNFINISHED.search(text_of(path))]


def test_no_file_names_a_machine_or_a_registry() -> None:
    here = re.compile(re.escape(str(ROOT)) + r"\b") if len(ROOT.parts) > 2 else ELSEWHERE
    found = {
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in committed()
        for match in [ELSEWHERE.search(text_of(path)) or here.search(text_of(path))]
        if match
    }
    assert not found


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_locks_hold_names_versions_and_hashes_and_no_addresses(lock: Path) -> None:
    strange = [
        line
        for line in lock.read_text().splitlines()
        if line.strip() and not re.match(r"([A-Za-z0-9._-]+==[\w.+!]+( ;.*)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?)$", line)
    ]
    assert not strange


def test_every_dependency_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    runtime = [*project["project"]["dependencies"], *extras["postgres"]]
    everything = [each for extra in extras.values() for each in extra]
    wanted = {"runtime": runtime, "dev": [*runtime, *everything, *project["dependency-groups"]["dev"]]}
    for name, requirements in wanted.items():
        locked = set(re.findall(r"^([\w.-]+)==", (ROOT / "requirements" / f"{name}.lock").read_text(), re.MULTILINE))
        assert {re.match(r"[\w.-]+", each).group().lower() for each in requirements} <= locked  # type: ignore[union-attr]


@pytest.mark.serial
def test_importing_mainspring_is_quick(tmp_path: Path) -> None:
    import_microseconds("mainspring", tmp_path)  # from now on there is bytecode, as there is for a user
    took = [(import_microseconds("mainspring", tmp_path), import_microseconds("asyncio", tmp_path)) for _ in range(5)]
    ours, theirs = (min(times) for times in zip(*took, strict=True))  # the least: whatever else ran only made it longer
    assert ours / theirs < IMPORT_TIMES_ASYNCIO


def import_microseconds(module: str, bytecode: Path) -> int:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    traced = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", f"import {module}"],
        env=environment | {"PYTHONPYCACHEPREFIX": str(bytecode)},
        capture_output=True,
        text=True,
        check=True,
    )
    total = next(line for line in traced.stderr.splitlines() if line.rsplit("|", 1)[-1].strip() == module)
    return int(total.split("|")[1])

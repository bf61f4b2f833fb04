"""The root of the command line: help, settings and where they come from, the reference page, the time to start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mainspring import config, errors
from mainspring.cli.main import exit_code, hoisted
from mainspring.cli.reference import page
from mainspring.errors import ConfigurationInvalid
from tests.cli.shell import Shell

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "cli.md"
MODULES_OF_A_DRIVER = {"apsw", "psycopg", "rich.table"}


def test_the_reference_is_what_the_commands_say() -> None:
    assert REFERENCE.read_text() == page(), "run: python -m mainspring.cli.reference > docs/reference/cli.md"


def test_help_needs_no_driver_and_no_table() -> None:
    said = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "mainspring", "--help"], capture_output=True, text=True, check=True
    )
    imported = {line.rsplit("|", 1)[-1].strip() for line in said.stderr.splitlines()}
    assert "Commands:" in said.stdout
    assert not imported & MODULES_OF_A_DRIVER


def test_every_kind_of_error_has_a_documented_code() -> None:
    kinds = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.MainspringError)]
    made = [kind("x") for kind in kinds]
    codes = {type(error).__name__: exit_code(error) for error in made}
    assert set(codes.values()) <= {1, 2, 3, 4, 5}
    assert codes["UnknownSchedule"] == 3
    assert (codes["UnknownRun"], codes["RunTerminal"], codes["StorageUnavailable"], codes["RunFailed"]) == (3, 4, 5, 1)


def test_global_options_may_stand_anywhere_before_two_dashes() -> None:
    assert hoisted(["run", "list", "--db", "x", "-n", "3"]) == ["--db", "x", "run", "list", "-n", "3"]
    assert hoisted(["run", "list", "--namespace=x"]) == ["--namespace=x", "run", "list"]
    assert hoisted(["enqueue", "--", "--db", "x"]) == ["enqueue", "--", "--db", "x"]
    assert hoisted(["run", "--db"]) == ["--db", "run"]


def test_bare_and_wrong_calls_say_how_to_call(on_sqlite: Shell) -> None:
    assert "Commands:" in on_sqlite.run().out + on_sqlite.run().err
    assert on_sqlite.run("--version").out.startswith("mainspring ")
    assert on_sqlite.run("nothing").code == 2
    assert on_sqlite.run("run", "get").code == 2


def test_a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default(tmp_path: Path) -> None:
    file = tmp_path / "mainspring.toml"
    environment = {"MAINSPRING_DATABASE": "sqlite:///environment.db"}
    assert _origin({}, {}, file) == ("sqlite:///mainspring.db", "default")
    file.write_text('database = "sqlite:///file.db"\n')
    assert _origin({}, {}, file) == ("sqlite:///file.db", "mainspring.toml")
    assert _origin({}, environment, file) == ("sqlite:///environment.db", "environment")
    assert _origin({"database": "sqlite:///flag.db"}, environment, file) == ("sqlite:///flag.db", "flag")


def _origin(flags: dict[str, str | None], environment: dict[str, str], file: Path) -> tuple[str, str]:
    value = config.resolve(flags, environment, file)["database"]
    return value.text, value.origin


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('databse = "x"', "databse in"),
        ("database = 3", "must be a text"),
        ('database = ""', "must be a text"),
        ('log_level = "loud"', "must be one of debug"),
        ("database", "cannot be read"),
        ('database = "env:NOT_THERE"', "no environment variable NOT_THERE"),
        ('database = "file:/not/there"', "cannot be read"),
    ],
)
def test_a_file_with_a_mistake_is_refused_by_name(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "mainspring.toml"
    file.write_text(text)
    with pytest.raises(ConfigurationInvalid, match=told):
        config.resolve({}, {}, file)


def test_a_reference_stands_for_what_is_there(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("sqlite:///secret.db\n")
    assert _origin({"database": f"file:{secret}"}, {}, tmp_path / "none") == ("sqlite:///secret.db", "flag")
    assert _origin({"database": "env:HERE"}, {"HERE": "sqlite:///here.db"}, tmp_path / "none")[0] == "sqlite:///here.db"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:geheim@host/db", "postgresql://me:***@host/db"),
        ("postgresql://host/db?user=me&password=geheim&x=1", "postgresql://host/db?user=me&password=***&x=1"),
        ("host=h password=geheim dbname=d", "host=h password=*** dbname=d"),
        ("sqlite:///a.db", "sqlite:///a.db"),
    ],
)
def test_passwords_are_not_shown(url: str, shown: str) -> None:
    assert config.without_password(url) == shown


def test_an_unknown_variable_is_refused_and_the_file_counts(on_sqlite: Shell) -> None:
    assert on_sqlite.run("run", "list", MAINSPRING_DATABSE="x").code == 2
    assert on_sqlite.run("--help", MAINSPRING_DATABSE="x").code == 0
    (on_sqlite.folder / "mainspring.toml").write_text(f'database = "{on_sqlite.url}"\n')
    assert on_sqlite.run("run", "list", url=None).code == 0
    assert "(mainspring.toml)" in on_sqlite.run("doctor", url=None).out


def test_a_transport_that_is_none_is_refused_by_its_name_and_without_its_password(on_sqlite: Shell) -> None:
    for told, shown in (("carrier-pigeon", "'carrier-pigeon'"), ("kafka://me:geheim@host", "'kafka'")):
        refused = on_sqlite.run("--transport", told, "worker", "shop:app", "--drain")
        assert (refused.code, refused.err.startswith(f"mainspring: {shown} names no transport; write ")) == (2, True), refused.err

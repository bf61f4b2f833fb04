"""Settings: one table of names, defaults and help; the only place that reads the environment and ``mainspring.toml``.

A value comes from a flag, else from the environment (``MAINSPRING_…``), else from ``mainspring.toml`` in the current folder,
else from its default; and remembers which. A text ``env:NAME`` or ``file:PATH`` stands for what is there, so that no secret has
to be written down.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mainspring.errors import ConfigurationInvalid, shown

PREFIX = "MAINSPRING_"
FILE = "mainspring.toml"
_FOR_TESTS = "MAINSPRING_TEST_"
_PASSWORD = re.compile(r"(?<=://)([^:@/?#]*):[^@/?#]*@|(?<=password=)[^&\s]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting: ``name`` in the file, in capitals after ``MAINSPRING_`` in the environment, ``flag`` on the
    command line, if it has one."""

    name: str
    flag: str | None = None
    default: str
    help: str
    choices: tuple[str, ...] = ()

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return PREFIX + self.name.upper()


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A setting in force, and where it came from: ``flag``, ``environment``, ``mainspring.toml`` or ``default``."""

    setting: Setting
    text: str
    origin: str

    @property
    def shown(self) -> str:
        """The value for people: without a password."""
        return without_password(self.text)


SETTINGS = (
    Setting(
        name="database",
        flag="--db",
        default="sqlite:///mainspring.db",
        help="where runs are kept: sqlite:///… or postgresql://…",
    ),
    Setting(
        name="transport",
        flag="--transport",
        default="auto",
        help="who carries hints of new work: auto (the database itself), redis://… or nats://…",
    ),
    Setting(name="namespace", flag="--namespace", default="default", help="the partition of everything to work in"),
    Setting(
        name="log_level",
        flag="--log-level",
        default="info",
        help="how much a worker logs",
        choices=("debug", "info", "warning", "error"),
    ),
    Setting(
        name="http_allow",
        default="none",
        help="where http targets may go beside the public network on ports 80 and 443: host patterns, networks, ports; by commas",
    ),
    Setting(name="http_deny", default="none", help="where http targets may not go, whatever allows it; by commas"),
    Setting(
        name="shell_enabled",
        default="false",
        help="whether shell targets may run programs here",
        choices=("true", "false"),
    ),
    Setting(
        name="shell_allow",
        default="none",
        help="the programs that shell targets may run: whole paths, /folder/* for those in it, * for all; by commas",
    ),
    Setting(
        name="secrets",
        default="none",
        help="the secrets that targets may name, and where each is: ping-token=env:PING_TOKEN,other=file:/run/other",
    ),
)


def resolve(
    flags: Mapping[str, str | None] | None = None,
    environment: Mapping[str, str] | None = None,
    file: Path = Path(FILE),
) -> dict[str, Value]:
    """Every setting in force, by name.

    Raises:
        ConfigurationInvalid: a ``MAINSPRING_`` variable or a key of the file that is no setting (the message lists those there
            are), a value that cannot be, a reference to what is not there.
    """
    environment = os.environ if environment is None else environment
    _refuse_unknown({name for name in environment if name.startswith(PREFIX) and not name.startswith(_FOR_TESTS)})
    written = _read(file)
    return {setting.name: _value(setting, flags or {}, environment, written) for setting in SETTINGS}


def default_database() -> str:
    """The database URL where the program names none."""
    return resolve()["database"].text


def default_transport() -> str:
    """The transport where the program names none."""
    return resolve()["transport"].text


def use_transport(url: str) -> None:
    """Make ``url`` the transport of every App that names none, as ``use_database`` does for the database."""
    os.environ["MAINSPRING_TRANSPORT"] = url


def use_database(url: str) -> None:
    """Make ``url`` the database of every App that names none, in this process and in those it starts: what ``--db`` means."""
    os.environ["MAINSPRING_DATABASE"] = url


def follow(text: str) -> str:
    """What a text stands for: ``env:NAME`` and ``file:PATH`` for what is there, any other for itself.

    Raises:
        ConfigurationInvalid: there is nothing.
    """
    return _followed("a reference", text, os.environ)


def without_password(url: str) -> str:
    """A URL or connection string with its password hidden."""
    return _PASSWORD.sub(lambda found: f"{found[1]}:***@" if found[1] is not None else "***", url)


def _refuse_unknown(variables: set[str]) -> None:
    known = sorted(setting.variable for setting in SETTINGS)
    if unknown := sorted(variables - set(known)):
        raise ConfigurationInvalid(f"{unknown[0]} is no setting; there are {', '.join(known)}")


def _read(file: Path) -> Mapping[str, Any]:
    try:
        written = tomllib.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationInvalid(f"{file} cannot be read: {error}") from None
    known = sorted(setting.name for setting in SETTINGS)
    if unknown := sorted(set(written) - set(known)):
        raise ConfigurationInvalid(f"{unknown[0]} in {file} is no setting; there are {', '.join(known)}")
    return written


def _value(setting: Setting, flags: Mapping[str, str | None], environment: Mapping[str, str], written: Mapping[str, Any]) -> Value:
    if (flag := flags.get(setting.name)) is not None:
        text, origin = flag, "flag"
    elif (found := environment.get(setting.variable)) is not None:
        text, origin = found, "environment"
    elif (entry := written.get(setting.name)) is not None:
        text, origin = entry, FILE
    else:
        text, origin = setting.default, "default"
    return Value(setting=setting, text=_checked(setting, text, origin, environment), origin=origin)


def _checked(setting: Setting, value: object, origin: str, environment: Mapping[str, str]) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ConfigurationInvalid(f"{setting.name} ({origin}) must be a text that is not empty, not {shown(value)}")
    text = _followed(setting.name, value, environment)
    if setting.choices and text not in setting.choices:
        raise ConfigurationInvalid(f"{setting.name} ({origin}) must be one of {', '.join(setting.choices)}, not {text!r}")
    return text


def _followed(name: str, text: str, environment: Mapping[str, str]) -> str:
    """What a reference stands for; any other text is itself."""
    kind, _, place = text.partition(":")
    match kind:
        case "env" if place in environment:
            return environment[place]
        case "env":
            raise ConfigurationInvalid(f"{name} is {text}, and there is no environment variable {place}")
        case "file":
            try:
                return Path(place).read_text().strip()
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigurationInvalid(f"{name} is {text}, which cannot be read: {error}") from None
        case _:
            return text

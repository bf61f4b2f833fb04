"""Settings: one table of names, defaults and help; the only place that reads the environment.

A value comes from a flag, else from the environment (``MAINSPRING_…``), else from its default; and remembers which.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from mainspring.errors import ConfigurationInvalid

PREFIX = "MAINSPRING_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting: ``name`` in flags and, in capitals after ``MAINSPRING_``, in the environment."""

    name: str
    default: str
    help: str

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return PREFIX + self.name.upper()


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A setting in force, and where it came from: ``flag``, ``environment`` or ``default``."""

    setting: Setting
    text: str
    origin: str


SETTINGS = (
    Setting(name="database", default="sqlite:///mainspring.db", help="where runs are kept: sqlite:///… or postgresql://…"),
    Setting(name="namespace", default="default", help="the partition of everything to work in"),
    Setting(name="log_level", default="info", help="how much is logged: debug, info, warning, error"),
)


def resolve(flags: Mapping[str, str | None] | None = None, environment: Mapping[str, str] | None = None) -> dict[str, Value]:
    """Every setting in force, by name.

    Raises:
        ConfigurationInvalid: a ``MAINSPRING_`` variable that is no setting; the message lists those there are.
    """
    environment = os.environ if environment is None else environment
    known = {setting.variable for setting in SETTINGS}
    unknown = sorted(name for name in environment if name.startswith(PREFIX) and name not in known and "TEST" not in name)
    if unknown:
        raise ConfigurationInvalid(f"{unknown[0]} is no setting; there are {', '.join(sorted(known))}")
    return {setting.name: _value(setting, flags or {}, environment) for setting in SETTINGS}


def default_database() -> str:
    """The database URL where the program names none."""
    return resolve()["database"].text


def _value(setting: Setting, flags: Mapping[str, str | None], environment: Mapping[str, str]) -> Value:
    if (flag := flags.get(setting.name)) is not None:
        return Value(setting=setting, text=flag, origin="flag")
    if (found := environment.get(setting.variable)) is not None:
        return Value(setting=setting, text=found, origin="environment")
    return Value(setting=setting, text=setting.default, origin="default")

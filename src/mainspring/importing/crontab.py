"""Crontabs, a user's and the system's, as entries of schedule files.

Here: lines, variables, fields, ``%`` input, as Vixie cron and its heirs read them. Not here: what the fields mean
(``core/cron.py``: the dialect ``cron5`` is theirs).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mainspring.importing.imported import Imported, Names, is_whole_path, plain_argv, program_of, why_not

_VARIABLE = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([A-Za-z_]\w*))\s*=\s*(.*?)\s*""", re.DOTALL)
_NICKNAME = re.compile(r"(@\w+)\s+(.*)", re.DOTALL)
_FIELDS = re.compile(r"((?:\S+\s+){4}\S+)\s+(.*)", re.DOTALL)
_USER = re.compile(r"(\S+)\s+(.*)", re.DOTALL)
#: Variables that tell cron something, and no program.
_OF_CRON = ("SHELL", "MAILTO", "MAILFROM", "CRON_TZ", "RANDOM_DELAY", "CONTENT_TYPE", "CONTENT_TRANSFER_ENCODING")
_SHELL = "/bin/sh"
#: Cron knows no retries, no slots, no catching up, and no end of patience.
_AS_CRON: Mapping[str, Any] = {"overlap": "allow", "misfire": "skip", "retry": {"max_attempts": 1}, "timeout": None}


def read_crontab(text: str, *, timezone: str | None, is_system: bool = False, prefix: str = "cron/") -> list[Imported]:
    """Every entry of a crontab, in order. ``timezone`` is the zone of the host's clocks, for entries without ``CRON_TZ``.
    ``is_system``: a user stands before the command, as in ``/etc/crontab`` and ``/etc/cron.d``."""
    reader = _Reader(timezone, is_system, Names(prefix))
    for number, line in enumerate(text.splitlines(), 1):
        reader.line(number, line.strip())
    return reader.found


class _Reader:
    """Goes down the lines, with the variables so far."""

    def __init__(self, timezone: str | None, is_system: bool, names: Names) -> None:
        self.found: list[Imported] = []
        self._timezone, self._is_system, self._names = timezone, is_system, names
        self._variables: dict[str, str] = {}

    def line(self, number: int, line: str) -> None:
        if not line or line.startswith("#"):
            return
        if variable := _VARIABLE.fullmatch(line):
            name = next(part for part in variable.groups()[:3] if part is not None)
            self._variables[name] = _unquoted(variable[4])
            return
        self.found.append(self._entry(f"line {number}", line))

    def _entry(self, place: str, line: str) -> Imported:
        notes: list[str] = []
        rest = line
        if rest.startswith("-"):
            rest = rest[1:]
            notes.append("the - before the fields, which keeps cron from logging, has no meaning here")
        split = _NICKNAME.fullmatch(rest) or _FIELDS.fullmatch(rest)
        if split is None:
            return Imported(place, line, refused="it is neither NAME=VALUE nor five fields and a command")
        fields, command = split[1], split[2]
        if fields.lower() == "@reboot":
            return Imported(place, line, refused="@reboot is no time: let the service manager of the host start it at boot")
        user = None
        if self._is_system:
            with_user = _USER.fullmatch(command)
            if with_user is None:
                return Imported(place, line, refused="a line of a system crontab has a user before its command")
            user, command = with_user[1], with_user[2]
        return self._made(place, line, " ".join(fields.split()), user, command, notes)

    def _made(self, place: str, line: str, fields: str, user: str | None, command: str, notes: list[str]) -> Imported:
        zone = self._variables.get("CRON_TZ") or self._timezone
        if zone is None:
            return Imported(place, line, refused="no CRON_TZ says whose clocks it means: give the zone of the host")
        command, given = _input(command)
        if not command:
            return Imported(place, line, refused="there is no command")
        target = self._target(command, given, user, notes)
        rule = {"cron": fields, "timezone": zone}
        texts = (*target["argv"], *target.get("env", {}).values())
        if told := why_not(rule, *texts):
            return Imported(place, line, notes=tuple(notes), refused=told)
        entry = {"name": self._names.new(program_of(command)), "rule": rule, "target": {"shell": target}, **_AS_CRON}
        return Imported(place, line, entry, tuple(notes))

    def _target(self, command: str, given: str | None, user: str | None, notes: list[str]) -> dict[str, Any]:
        shell = self._variables.get("SHELL", _SHELL)
        argv = plain_argv(command) if given is None else None
        if argv is None:
            notes.append(f"{shell} runs it: it has shell syntax, or a program without its whole path")
            argv = [shell, "-c", command]
        if given is not None:
            notes.append("what stands behind its % is given to it by the shell, as input")
            argv = [shell, "-c", f"printf '%s\\n' \"$1\" | {{\n{command}\n}}", "cron", given]
        target: dict[str, Any] = {"argv": argv}
        if env := {name: value for name, value in self._variables.items() if name not in _OF_CRON}:
            target["env"] = env
        home = self._variables.get("HOME")
        if home is not None and is_whole_path(home):
            target["cwd"] = home
        else:
            notes.append("cron starts it in the home folder of its user, this in /: set HOME, or cwd in the file")
        self._tell(user, notes)
        if user not in (None, "root"):
            target["user"] = user
        return target

    def _tell(self, user: str | None, notes: list[str]) -> None:
        if user == "root":
            notes.append("cron runs it as root; here it runs as the user of the worker, since no target runs as root")
        if self._variables.get("MAILTO"):
            notes.append(f"cron mails its output to {self._variables['MAILTO']}; here it is in the receipt of each attempt")
        if self._variables.get("RANDOM_DELAY", "0") != "0":
            notes.append("RANDOM_DELAY is one delay a start of cron; write jitter: {max: ...} in the file if you want one a fire")
        if "CRON_TZ" in self._variables:
            notes.append("CRON_TZ is its zone, as in cronie; Debian's cron ignores it and goes by the clocks of the host")
        elif "TZ" in self._variables:
            notes.append("TZ is the program's only: cron goes by the clocks of the host, and so does this")


def _input(command: str) -> tuple[str, str | None]:
    """A command, and what it reads: an unescaped ``%`` ends it, and further ones are ends of lines."""
    head, *lines = [part.replace(r"\%", "%") for part in re.split(r"(?<!\\)%", command)]
    return head.strip(), "\n".join(lines) if lines else None


def _unquoted(value: str) -> str:
    is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1] if is_quoted else value

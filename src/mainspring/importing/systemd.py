"""systemd timers, with the services that they start, as entries of schedule files.

Here: unit files, spans of time, commands. Not here: what calendar expressions mean (``core/systemd.py``: a dialect of cron rules).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, TypeAlias

from mainspring.core.durations import DAY, HOUR, MILLISECOND, MINUTE, SECOND, WEEK, format_duration
from mainspring.core.problems import Refused, listed
from mainspring.importing.imported import Imported, Names, is_whole_path, why_not

#: What a section says, by name; a name may be there several times.
Section: TypeAlias = Mapping[str, list[str]]

_UNITS = {
    "us": 1, "usec": 1, "µs": 1, "ms": MILLISECOND, "msec": MILLISECOND,
    "": SECOND, "s": SECOND, "sec": SECOND, "second": SECOND, "seconds": SECOND,
    "m": MINUTE, "min": MINUTE, "minute": MINUTE, "minutes": MINUTE, "h": HOUR, "hr": HOUR, "hour": HOUR, "hours": HOUR,
    "d": DAY, "day": DAY, "days": DAY, "w": WEEK, "week": WEEK, "weeks": WEEK,
    "M": int(30.44 * DAY), "month": int(30.44 * DAY), "months": int(30.44 * DAY),
    "y": int(365.25 * DAY), "year": int(365.25 * DAY), "years": int(365.25 * DAY),
}  # fmt: skip
_SPAN = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*([A-Za-zµ]*)")
_ZONE = re.compile(r"UTC|[A-Za-z_]+/[A-Za-z0-9_/+-]+")
_OF_BOOT = ("OnBootSec", "OnStartupSec", "OnActiveSec")
_OF_TIMER = (
    *_OF_BOOT,
    "OnCalendar",
    "OnUnitActiveSec",
    "OnUnitInactiveSec",
    "Persistent",
    "RandomizedDelaySec",
    "FixedRandomDelay",
    "Unit",
)
_OF_SERVICE = ("Type", "ExecStart", "User", "WorkingDirectory", "Environment", "TimeoutStartSec", "RuntimeMaxSec")
_YES = ("1", "yes", "true", "on")


def read_timers(files: Mapping[str, str], *, timezone: str | None, prefix: str = "systemd/") -> list[Imported]:
    """Every timer among ``files`` (texts by the names of units), in order of names. ``timezone`` is the zone of the host's clocks,
    for expressions that name none. The services that timers start have to be among the files."""
    names = Names(prefix)
    units = {PurePosixPath(name).name: read_unit(text) for name, text in files.items()}
    return [_timer(name, units, timezone, names) for name in sorted(units) if name.endswith(".timer")]


def read_unit(text: str) -> dict[str, dict[str, list[str]]]:
    """A unit file, by section and name. An empty value takes back those before it."""
    made: dict[str, dict[str, list[str]]] = {}
    section: dict[str, list[str]] = {}
    for line in re.sub(r"\\\n", " ", text).splitlines():
        line = line.strip()
        if not line or line[0] in "#;":
            continue
        if line[0] == "[" and line[-1] == "]":
            section = made.setdefault(line[1:-1], {})
            continue
        name, _, value = (part.strip() for part in line.partition("="))
        section[name] = [*section.get(name, []), value] if value else []
    return made


def read_span(text: str) -> int:
    """A span of time as systemd writes it (``1h 30min``, ``90``), in microseconds.

    Raises:
        Refused: it is none.
    """
    total, at = 0, 0
    while at < len(text.rstrip()):
        found = _SPAN.match(text, at)
        if found is None or found[2] not in _UNITS:
            raise Refused(f"{text!r} is no span of time")
        total += int(float(found[1]) * _UNITS[found[2]])
        at = found.end()
    return total


def _timer(name: str, units: Mapping[str, Mapping[str, Section]], timezone: str | None, names: Names) -> Imported:
    timer = units[name].get("Timer", {})
    source = "; ".join(f"{key}={value}" for key, values in timer.items() for value in values)
    service = _last(timer, "Unit") or f"{name.removesuffix('.timer')}.service"
    notes: list[str] = []
    try:
        rule = _rule(timer, timezone, notes)
        if service not in units:
            raise Refused(f"it starts {service}: give that file too")
        target, more = _target(units[service].get("Service", {}), service, notes)
        entry = {"name": names.new(name.removesuffix(".timer")), "rule": rule, "target": {"shell": target}}
        entry |= {"overlap": "skip", "misfire": _misfire(timer), "retry": {"max_attempts": 1}} | more
        if jitter := _jitter(timer):
            entry["jitter"] = jitter
    except Refused as refused:
        return Imported(name, source, notes=tuple(notes), refused=" ".join(refused.sentences))
    if left := [key for key in timer if key not in _OF_TIMER and key != "AccuracySec"]:
        notes.append(f"{listed(left)} of the timer: left out")
    refused_by = why_not(rule, *target["argv"], *target.get("env", {}).values())
    return Imported(name, source, None if refused_by else entry, tuple(notes), refused_by)


def _rule(timer: Section, timezone: str | None, notes: list[str]) -> dict[str, Any]:
    rules: list[dict[str, Any]] = [_calendar(text, timezone) for text in timer.get("OnCalendar", ())]
    for text in timer.get("OnUnitActiveSec", ()):
        rules.append({"every": format_duration(read_span(text))})
        notes.append("OnUnitActiveSec counts from the last start; this is due on a fixed grid, and left out while one is running")
    rules += [{"after": format_duration(read_span(text))} for text in timer.get("OnUnitInactiveSec", ())]
    of_boot = [name for name in _OF_BOOT if timer.get(name)]
    if not rules:
        told = (
            f"{listed(of_boot)} counts from a start of the host, which is no time"
            if of_boot
            else "it says of no time when it is due"
        )
        raise Refused(f"{told}: let the service manager of the host do that")
    if of_boot:
        notes.append(f"{listed(of_boot)} counts from a start of the host: left out")
    return rules[0] if len(rules) == 1 else {"any": rules}


def _calendar(text: str, timezone: str | None) -> dict[str, Any]:
    *words, last = text.split()
    zone = last if words and _ZONE.fullmatch(last) else None
    if zone is None and timezone is None:
        raise Refused(f"{text!r} names no zone: give the zone of the host")
    return {"cron": " ".join(words) if zone else text, "timezone": zone or timezone, "dialect": "systemd"}


def _misfire(timer: Section) -> str:
    return "run_once_if_late" if _is_on(timer, "Persistent") else "skip"


def _jitter(timer: Section) -> dict[str, str] | None:
    span = read_span(_last(timer, "RandomizedDelaySec") or "0")
    if not span:
        return None
    return {"max": format_duration(span), "mode": "hash" if _is_on(timer, "FixedRandomDelay") else "random"}


def _target(service: Section, name: str, notes: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a service runs, and how long it may take."""
    commands = service.get("ExecStart", [])
    if len(commands) != 1:
        raise Refused(f"{name} has {len(commands)} ExecStart, and a target one command: put them into a script")
    target: dict[str, Any] = {"argv": _argv(commands[0], notes)}
    pairs = [pair.partition("=") for value in service.get("Environment", ()) for pair in _words(value)]
    if pairs:
        target["env"] = {variable: value for variable, _, value in pairs}
    folder = (_last(service, "WorkingDirectory") or "/").removeprefix("-")
    if not is_whole_path(folder):
        raise Refused(f"WorkingDirectory={folder} is no whole path: write one")
    if folder != "/":
        target["cwd"] = folder
    user = _last(service, "User")
    if user in (None, "root"):
        notes.append("systemd runs it as root; here it runs as the user of the worker, since no target runs as root")
    else:
        target["user"] = user
    if left := [key for key in service if key not in _OF_SERVICE]:
        notes.append(f"{listed(left)} of {name}: left out")
    bound = _last(service, "TimeoutStartSec" if _last(service, "Type") == "oneshot" else "RuntimeMaxSec")
    return target, {"timeout": None if bound in (None, "infinity", "0") else format_duration(read_span(str(bound)))}


def _argv(command: str, notes: list[str]) -> list[str]:
    plain = command.lstrip("-:+!@|")
    signs = command[: len(command) - len(plain)]
    if "@" in signs:
        raise Refused("a command with @ gives its program another name: put it into a script")
    if signs:
        notes.append(f"the {signs} before the command is left out: a failure is a failure here, and no privilege is kept")
    if re.search(r"%[^%]|%$", plain.replace("%%", "")) or (":" not in signs and re.search(r"\$[{A-Za-z_]", plain)):
        raise Refused("the command has % specifiers or $ variables, which systemd fills in: write their values")
    argv = [word.replace("%%", "%").replace("$$", "$") for word in _words(plain)]
    if not argv:
        raise Refused("the command is empty")
    if not is_whole_path(argv[0]):
        notes.append("/usr/bin/env finds the program, which is named without its whole path")
        argv = ["/usr/bin/env", *argv]
    return argv


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise Refused(f"{text!r} cannot be read: {error}") from None


def _last(section: Section, name: str) -> str | None:
    said = section.get(name)
    return said[-1] if said else None


def _is_on(section: Section, name: str) -> bool:
    return (_last(section, name) or "").lower() in _YES

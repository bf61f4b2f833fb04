"""A shell target as it is written: ``shell([...])``, reading it with all mistakes at once, and filling it in for an attempt.

There is no shell in it: a program gets its arguments as they are, one by one. Here too: which programs an operator allows.
Not here: running one (``shell``, ``keeper``), and what its end means (``core/exits.py``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import msgspec

from mainspring.core.durations import HOUR, MINUTE, SECOND
from mainspring.core.exits import RELEASE_CODE, ExitCodes
from mainspring.core.launch import Launch, UnfilledError, filled, has_placeholder
from mainspring.errors import TargetRefused
from mainspring.targets.problems import Problems
from mainspring.targets.secrets import Secret, Text, names_in

MOST_ARGUMENTS = 1_024
LARGEST_ARGV = 128 * 1024
_MOST_VARIABLES = 256
_RESERVED = "MAINSPRING_"

_FIELDS = (
    "argv", "env", "cwd", "user", "stdin", "grace", "success_codes", "release_code", "release_after", "skip_code", "limits",
)  # fmt: skip
_STDIN = ("empty", "payload")
_LIMITS = {
    "memory": (1024 * 1024, 2**50), "files": (4, 2**20), "file_size": (0, 2**60), "processes": (1, 2**20), "nice": (0, 19),
}  # fmt: skip
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_USER = re.compile(r"[a-z_][a-z0-9_.-]{0,31}\$?")
#: Variables by which something else than the allowed program would run. A net, and no proof: interpreters have more.
_LOADING = re.compile(
    r"LD_.*|DYLD_.*|BASH_ENV|ENV|SHELLOPTS|BASHOPTS|IFS|PS4|PROMPT_COMMAND|BASH_FUNC.*|PYTHON(?:PATH|HOME|STARTUP|INSPECT)|"
    r"PERL5?(?:LIB|OPT|DB)|RUBY(?:LIB|OPT)|NODE_(?:OPTIONS|PATH)|JAVA_TOOL_OPTIONS|_JAVA_OPTIONS|GCONV_PATH|GIT_.*COMMAND.*"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program as it was written, names of secrets and placeholders included."""

    argv: tuple[str, ...]
    env: tuple[tuple[str, Text], ...] = ()
    cwd: str = "/"
    user: str | None = None
    stdin: str = "empty"
    grace_us: int = 10 * SECOND
    codes: ExitCodes = field(default_factory=ExitCodes)
    limits: Mapping[str, int] = field(default_factory=dict)

    def secret_names(self) -> Iterator[str]:
        """Every secret that it needs."""
        return names_in(*(value for _, value in self.env))


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramRules:
    """What an operator allows: ``SHELL_ENABLED``, ``SHELL_ALLOW`` (programs by their whole path, ``/folder/*`` for those in a
    folder, ``*`` for all), and the environment that every program gets."""

    enabled: bool = False
    allow: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    def judge(self, program: Program) -> None:
        """See that a program may be run.

        Raises:
            TargetRefused: naming the rule.
        """
        path = program.argv[0]
        if not self.enabled:
            raise TargetRefused("no program may be run here; SHELL_ENABLED allows it", rule="SHELL_ENABLED")
        if not any(_allows(entry, path) for entry in self.allow):
            raise TargetRefused(f"{path} is not among the programs that SHELL_ALLOW names", rule="SHELL_ALLOW")
        if program.user == "root":
            raise TargetRefused("no program is run as root by its target; leave user out, or name another", rule="user")


def _allows(entry: str, path: str) -> bool:
    folder = entry.removesuffix("/*")
    return entry in {"*", path} or (folder != entry and str(PurePosixPath(path).parent) == (folder or "/"))


def shell(argv: Sequence[str], **fields: Any) -> dict[str, Any]:
    """The target of a schedule or a run: a program with its arguments, as JSON-able data.

    Raises:
        TargetInvalid: naming everything that is wrong.
    """
    written = {"argv": list(argv) if isinstance(argv, tuple) else argv, **fields}
    read_program(written)
    return {"shell": written}


# -- reading ---------------------------------------------------------------------------------------------------------


def read_program(written: object) -> Program:
    """A program as it is written.

    Raises:
        TargetInvalid: with every mistake at once.
    """
    problems = Problems()
    given = problems.fields("", written, _FIELDS)
    program = Program(
        argv=_argv(problems, given.get("argv")),
        env=_env(problems, given.get("env", {})),
        cwd=_path(problems, "cwd", given.get("cwd", "/")),
        user=_user(problems, given.get("user")),
        stdin=_stdin(problems, given.get("stdin", "empty")),
        grace_us=problems.span("grace", given.get("grace", 10), least=0, most=HOUR, otherwise=10 * SECOND),
        codes=_codes(problems, given),
        limits=_limits(problems, given.get("limits", {})),
    )
    problems.settle("shell")
    return program


def _argv(problems: Problems, given: object) -> tuple[str, ...]:
    if isinstance(given, str):
        problems.add("argv", given, 'write a list such as ["/usr/bin/purge", "--all"]; there is no shell to split a line')
        return ("/",)
    argv = problems.items("argv", given, MOST_ARGUMENTS)
    for nth, item in enumerate(argv):
        if not isinstance(item, str) or "\0" in item:
            problems.add(f"argv[{nth}]", item, "write a text without NUL")
        else:
            problems.placeholders(f"argv[{nth}]", item)
    texts = tuple(item for item in argv if isinstance(item, str))
    if sum(len(item.encode("utf-8", "replace")) + 1 for item in texts) > LARGEST_ARGV:
        problems.add("argv", len(texts), f"write at most {LARGEST_ARGV:,} bytes in all")
    if not texts:
        problems.add("argv", given, "write at least the program")
        return ("/",)
    _path(problems, "argv[0]", texts[0])
    return texts


def _path(problems: Problems, path: str, given: object) -> str:
    if not isinstance(given, str) or not given.startswith("/") or "\0" in given or has_placeholder(given):
        problems.add(path, given, "write a whole path such as /usr/bin/purge, without placeholders")
        return "/"
    if given != str(PurePosixPath(given)) or ".." in PurePosixPath(given).parts or given.startswith("//"):
        problems.add(path, given, "write the path without . or .. and doubled slashes")
    return given


def _env(problems: Problems, given: object) -> tuple[tuple[str, Text], ...]:
    if not isinstance(given, Mapping):
        problems.add("env", given, 'write an object such as {"LEVEL": "3"}')
        return ()
    if len(given) > _MOST_VARIABLES:
        problems.add("env", len(given), f"write at most {_MOST_VARIABLES}")
    return tuple((str(name), _variable(problems, f"env.{name}", name, value)) for name, value in given.items())


def _variable(problems: Problems, path: str, name: object, value: object) -> Text:
    if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
        problems.add(path, name, "write a name of letters, digits and _")
    elif name.startswith(_RESERVED):
        problems.add(path, name, f"leave it out: {_RESERVED}* is set for you")
    elif _LOADING.fullmatch(name):
        problems.add(path, name, "leave it out: it would let something else run than this program")
    if isinstance(value, str) and "\0" in value:
        problems.add(path, value, "write a text without NUL", hide=True)
    return problems.text(path, value)


def _user(problems: Problems, given: object) -> str | None:
    if given is None or (isinstance(given, str) and _USER.fullmatch(given)):
        return given
    problems.add("user", given, "write the name of a user")
    return None


def _stdin(problems: Problems, given: object) -> str:
    if given in _STDIN:
        return str(given)
    problems.add("stdin", given, f"write one of {', '.join(_STDIN)}")
    return "empty"


def _codes(problems: Problems, given: Mapping[str, Any]) -> ExitCodes:
    written = problems.items("success_codes", given.get("success_codes", (0,)), 32)
    success = tuple(_code(problems, f"success_codes[{nth}]", code) for nth, code in enumerate(written))
    release, skip = (
        None if given.get(name, otherwise) is None else _code(problems, name, given.get(name, otherwise))
        for name, otherwise in (("release_code", RELEASE_CODE), ("skip_code", None))
    )
    if release in {0, *success} and "release_code" in given:
        problems.add("release_code", release, "write another: this one is a success")
    if skip is not None and skip in {0, *success, release}:
        problems.add("skip_code", skip, "write another: this one says something else already")
    after = problems.span("release_after", given.get("release_after", 60), least=SECOND, most=24 * HOUR, otherwise=MINUTE)
    return ExitCodes(success=success, release=release, skip=skip, release_after_us=after)


def _code(problems: Problems, path: str, given: object) -> int:
    return problems.whole(path, given, least=0, most=255, otherwise=0)


def _limits(problems: Problems, given: object) -> dict[str, int]:
    written = problems.fields("limits", given, ("cpu", *_LIMITS))
    limits = {
        name: problems.whole(f"limits.{name}", written[name], least=least, most=most, otherwise=least)
        for name, (least, most) in _LIMITS.items()
        if name in written
    }
    if "cpu" in written:
        span = problems.span("limits.cpu", written["cpu"], least=SECOND, most=7 * 24 * HOUR, otherwise=SECOND)
        limits["cpu"] = -(-span // SECOND)
    return limits


# -- filling in ------------------------------------------------------------------------------------------------------


def arguments(program: Program, launch: Launch) -> list[str]:
    """The arguments of this attempt: as many as were written, whatever the values are.

    Raises:
        UnfilledError: a placeholder has no value, or one that no argument can hold.
    """
    argv = [program.argv[0], *(_without_nul(filled(item, launch)) for item in program.argv[1:])]
    if sum(len(item.encode("utf-8", "replace")) + 1 for item in argv) > LARGEST_ARGV:
        raise UnfilledError(f"with their values the arguments are more than {LARGEST_ARGV:,} bytes")
    return argv


def environment(program: Program, launch: Launch, secrets: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """The environment of this attempt: ``given`` by the operator, then what was written, then what it is about.

    Raises:
        UnfilledError: see ``arguments``.
    """
    written = {
        name: _without_nul(secrets[value.name] if isinstance(value, Secret) else filled(value, launch))
        for name, value in program.env
    }
    return {**given, **written, **_about(launch)}


def standard_input(program: Program, launch: Launch) -> bytes:
    """What the program reads."""
    return msgspec.json.encode(launch.payload) if program.stdin == "payload" else b""


def _about(launch: Launch) -> dict[str, str]:
    known = {"RUN_ID": launch.run_id, "ATTEMPT": str(launch.attempt), "IDEMPOTENCY_KEY": launch.idempotency_key}
    if launch.trace is not None:
        known["TRACEPARENT"] = launch.trace
    if (occurrence := launch.occurrence) is not None:
        known |= {"OCCURRENCE_KEY": occurrence.key, "OCCURRENCE_NOMINAL": occurrence.nominal}
        known |= {"OCCURRENCE_LOCAL": occurrence.local, "OCCURRENCE_DUE": occurrence.due}
    return {_RESERVED + name: value for name, value in known.items()}


def _without_nul(value: str) -> str:
    if "\0" in value:
        raise UnfilledError("a value holds NUL, which neither an argument nor a variable can")
    return value

"""The targets of this process: what its settings let them do, and having one judged before it is written down.

Here: from settings to ``Targets``, and the payload of a run of one. Not here: running them (``runtime/targeting.py``), and any kind
(``targets``, which is imported when one is needed and not before).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from mainspring import codec
from mainspring.config import follow, resolve
from mainspring.core.durations import MINUTE, SECOND
from mainspring.core.launch import TARGETS
from mainspring.core.policy import Policy
from mainspring.errors import ConfigurationInvalid, InvalidOption
from mainspring.waiting import answered

if TYPE_CHECKING:
    from mainspring.client.client import Client
    from mainspring.core.outgoing import Rules
    from mainspring.targets.protocol import Targets

#: How long an attempt of a target takes at most, where nobody says.
TIMEOUT_US = 5 * MINUTE
_LEEWAY_US = 5 * SECOND
_NONE = "none"


class Allowed(NamedTuple):
    """What the settings of a process let its targets do."""

    requests: Rules
    runs_programs: bool
    programs: tuple[str, ...]
    secrets: Mapping[str, str]

    @staticmethod
    def here() -> Allowed:
        """As this process is configured.

        Raises:
            ConfigurationInvalid: naming the setting and what to write.
        """
        from mainspring.core.outgoing import Rules  # for workers and writers of targets only

        said = {name: value.text for name, value in resolve().items()}
        return Allowed(
            requests=Rules.read(allow=_listed(said["http_allow"]), deny=_listed(said["http_deny"])),
            runs_programs=said["shell_enabled"] == "true",
            programs=_listed(said["shell_allow"]),
            secrets=dict(_reference(each) for each in _listed(said["secrets"])),
        )

    @property
    def kinds(self) -> tuple[str, ...]:
        """What a worker of this process offers."""
        return TARGETS if self.runs_programs else ("http",)


def targets_of(client: Client, allowed: Allowed) -> Targets:
    """Every kind, under what is allowed."""
    from mainspring.targets.guard import Guard
    from mainspring.targets.http import HttpTarget
    from mainspring.targets.programs import ProgramRules
    from mainspring.targets.protocol import Targets
    from mainspring.targets.secrets import References
    from mainspring.targets.shell import ShellTarget

    vault, redactor = References(named=allowed.secrets, follow=follow), client.keeping.redactor
    guard = Guard(rules=allowed.requests)
    rules = ProgramRules(enabled=allowed.runs_programs, allow=allowed.programs)
    return Targets(
        [
            HttpTarget(vault=vault, now=client.system.now, guard=guard, redactor=redactor),
            ShellTarget(vault=vault, rules=rules, redactor=redactor),
        ]
    )


def default_policy(kind: str) -> Policy:
    """How often and how long runs of a kind of target are tried, where nobody says."""
    return Policy(timeout_us=TIMEOUT_US) if kind in TARGETS else Policy()


class Judged(NamedTuple):
    """A target that may be written down: its kind, the payload of its runs, and their policy."""

    kind: str
    body: bytes
    policy: Policy


def judged(client: Client, written: Mapping[str, Any], payload: Any) -> Judged:
    """A target as ``http()`` and ``shell()`` write it, judged by this process's settings. Names are resolved for that.

    Raises:
        TargetInvalid: with every mistake at once. TargetRefused: naming the rule. InvalidOption: it is no target.
    """
    if len(written) != 1 or next(iter(written)) not in TARGETS:
        raise InvalidOption("a target is a task by name, http(…) or shell([…])", option="target")
    ((kind, said),) = written.items()
    spec = answered(targets_of(client, Allowed.here()).review(kind, said))
    body = codec.encode_json({"target": said, "payload": payload}, what="payload", largest=codec.LARGEST)
    grace_us = max(Policy().grace_us, getattr(spec, "grace_us", 0) + _LEEWAY_US)
    return Judged(kind, body, replace(default_policy(kind), grace_us=grace_us))


def _listed(text: str) -> tuple[str, ...]:
    return () if text == _NONE else tuple(entry.strip() for entry in text.split(",") if entry.strip())


def _reference(entry: str) -> tuple[str, str]:
    name, equals, place = entry.partition("=")
    if not name or not equals or not place.startswith(("env:", "file:")):
        raise ConfigurationInvalid("each of MAINSPRING_SECRETS is a name=env:NAME or a name=file:PATH")
    return name, place

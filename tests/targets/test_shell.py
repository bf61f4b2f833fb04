"""The target ``shell`` with real processes: what a program gets, how it ends, and that nothing of it is left."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from mainspring.core.attempts import Dropped, Failed, GaveItselfBack, Interrupted, Outcome, Stopped, Succeeded, Unworkable
from mainspring.core.durations import MINUTE
from mainspring.core.launch import Launch
from mainspring.errors import TargetInvalid, TargetRefused
from mainspring.targets.programs import ProgramRules
from mainspring.targets.programs import shell as shell_target
from mainspring.targets.protocol import Targets
from mainspring.targets.receipts import Ran
from mainspring.targets.secrets import secret
from mainspring.targets.shell import ShellTarget
from tests.support.loops import in_loop
from tests.targets.servers import LAUNCH, Box

SH = "/bin/sh"
GIVEN = {"PATH": "/usr/bin:/bin"}
CANARY = "canary-7f3a91c2d4"
#: Ignores every request to end, and holds a pipe open as long as it lives.
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "alive = open({fifo!r}, 'w', 1); alive.write('up\\n'); time.sleep(1000)"
)


def target(*, secrets: Mapping[str, str] | None = None, allow: tuple[str, ...] = ("*",), enabled: bool = True) -> ShellTarget:
    return ShellTarget(vault=Box(secrets or {}), rules=ProgramRules(enabled=enabled, allow=allow, environment=GIVEN))


async def ran(*argv: str, launch: Launch = LAUNCH, at: ShellTarget | None = None, **fields: Any) -> Ran:
    shell = at or target()
    return await shell.run(shell.read({"argv": list(argv)} | fields), launch)


async def script(text: str, **fields: Any) -> Ran:
    return await ran(SH, "-c", text, **fields)


def failed(outcome: Outcome) -> Failed:
    assert isinstance(outcome, Failed), outcome
    return outcome


def out(done: Ran) -> str:
    return done.receipts[0].text


class Fifo:
    """A pipe with a name: who holds it open lives."""

    def __init__(self, folder: Path, name: str = "alive") -> None:
        self.path = str(folder / name)
        os.mkfifo(self.path)

    async def opened(self) -> Any:
        """Wait until somebody opens it; what is read from then on."""
        return await asyncio.to_thread(open, self.path, "rb", 0)


# -- what a program gets ---------------------------------------------------------------------------------------------


#: Signals 32 and 33, which threads of the C library tell each other by, and no program can set.
_OF_THE_C_LIBRARY = 0x1_8000_0000


@in_loop
async def test_a_program_gets_its_arguments_one_by_one_and_no_value_adds_any() -> None:
    launch = Launch(run_id="r", payload='a b; $(touch x) "*"\n')
    done = await ran("/usr/bin/printf", "<%s>", "one two", "{{ payload. }}", "", "{{ run.id }}{{ attempt }}", launch=launch)
    assert done.outcome == Succeeded(b'{"exit_status":0}')
    assert out(done) == '<one two><a b; $(touch x) "*"\n><><r1>'


@in_loop
async def test_a_program_gets_the_environment_it_was_given_and_nothing_else() -> None:
    with mock.patch.dict(os.environ, {"WORKERS_OWN": "secret-of-the-worker"}):
        done = await ran(
            "/usr/bin/env", env={"LEVEL": "{{ payload./user }}", "TOKEN": secret("t")}, at=target(secrets={"t": CANARY})
        )
    variables = dict(line.split("=", 1) for line in out(done).splitlines())
    assert set(variables) == {
        "PATH", "LEVEL", "TOKEN", "MAINSPRING_RUN_ID", "MAINSPRING_ATTEMPT", "MAINSPRING_IDEMPOTENCY_KEY",
        "MAINSPRING_TRACEPARENT", "MAINSPRING_OCCURRENCE_KEY", "MAINSPRING_OCCURRENCE_NOMINAL", "MAINSPRING_OCCURRENCE_LOCAL",
        "MAINSPRING_OCCURRENCE_DUE",
    }  # fmt: skip
    assert (variables["LEVEL"], variables["MAINSPRING_RUN_ID"], variables["MAINSPRING_ATTEMPT"]) == ("ana", "run-7", "2")


@pytest.mark.parametrize(("stdin", "told"), [("empty", ""), ("payload", '{"user":"ana"}')])
@in_loop
async def test_standard_input_is_empty_or_the_payload(stdin: str, told: str) -> None:
    assert out(await ran("/bin/cat", stdin=stdin)) == told


@in_loop
async def test_a_large_payload_is_read_whole_by_a_program_that_reads_late() -> None:
    launch = Launch(run_id="r", payload="x" * 1_000_000)
    done = await script("exec 3<&0; wc -c <&3", stdin="payload", launch=launch)
    assert out(done).strip() == "1000002"


@in_loop
async def test_a_program_begins_like_one_that_a_person_starts(tmp_path: Path) -> None:
    done = await script(
        "pwd; ls /proc/self/fd | wc -l; grep -E 'Sig(Ign|Blk)' /proc/self/status; ps -o pgid=,sid= -p $$; echo $$",
        cwd=str(tmp_path),
    )
    lines = out(done).split("\n")
    assert lines[0] == str(tmp_path)
    assert lines[1].strip() == "4", "the three streams, and the folder that ls reads"
    assert not any(int(line.split()[1], 16) & ~_OF_THE_C_LIBRARY for line in lines[2:4])
    assert lines[4].split() == [lines[5]] * 2, "its own group and session"


@pytest.mark.parametrize(
    ("limits", "shown", "asked"),
    [
        ({"files": 33}, "33", "ulimit -n"),
        ({"memory": 512 * 1024 * 1024}, "524288", "ulimit -v"),
        ({"cpu": "90s"}, "90", "ulimit -S -t"),
        ({"processes": 77}, "77", "ulimit -p 2>/dev/null || ulimit -u"),
        ({"nice": 7}, "7", "nice"),
        ({}, "0", "ulimit -c; ulimit -c 1 2>/dev/null || true"),
    ],
)
@in_loop
async def test_limits_hold_from_the_first_instruction(limits: dict[str, Any], shown: str, asked: str) -> None:
    done = await script(asked, limits=limits)
    assert out(done).strip() == shown, done


@in_loop
async def test_a_program_beyond_its_limits_is_ended_and_the_failure_says_by_what(tmp_path: Path) -> None:
    busy = await script("while :; do :; done", limits={"cpu": "1s"})
    assert (failed(busy.outcome).code, "its limit of CPU time" in failed(busy.outcome).message) == ("killed", True)
    large = await script(f"exec head -c 9999 /dev/zero > {tmp_path}/large", limits={"file_size": 1_000})
    assert "its limit of file size" in failed(large.outcome).message
    assert (tmp_path / "large").stat().st_size == 1_000
    fat = await ran(sys.executable, "-S", "-c", "bytearray(10**9)", limits={"memory": 400 * 2**20})
    assert failed(fat.outcome).message.endswith("MemoryError")


@in_loop
async def test_a_program_runs_as_another_user_where_the_worker_may_switch() -> None:
    if os.geteuid() == 0:
        assert out(await script("id -un; id -Gn", user="nobody")).split()[0] == "nobody"
    else:
        assert failed((await script("id -un", user="nobody")).outcome).code == "target_refused"
    assert failed((await script("id -un", user="no-such-user")).outcome).code == "target_refused"


# -- how it ends -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "fields", "outcome"),
    [
        (0, {}, Succeeded(b'{"exit_status":0}')),
        (3, {"success_codes": [3, 4]}, Succeeded(b'{"exit_status":3}')),
        (0, {"success_codes": [3]}, Succeeded(b'{"exit_status":0}')),
        (75, {}, GaveItselfBack(after_us=MINUTE, reason="exit_75")),
        (75, {"release_after": "5m"}, GaveItselfBack(after_us=5 * MINUTE, reason="exit_75")),
        (9, {"release_code": 9}, GaveItselfBack(after_us=MINUTE, reason="exit_9")),
        (4, {"skip_code": 4}, Dropped("exit_4")),
        (75, {"success_codes": [75]}, Succeeded(b'{"exit_status":75}')),
    ],
)
@in_loop
async def test_the_exit_status_says_what_comes_next(status: int, fields: dict[str, Any], outcome: Outcome) -> None:
    assert (await script(f"exit {status}", **fields)).outcome == outcome


@in_loop
async def test_a_failure_says_the_status_and_what_the_program_said_last() -> None:
    outcome = failed((await script("echo first >&2; echo no space left >&2; exit 7")).outcome)
    assert (outcome.code, outcome.message, outcome.final) == (
        "exit_7",
        "the program ended with exit status 7: no space left",
        False,
    )
    no_release = failed((await script("exit 75", release_code=None)).outcome)
    assert no_release.code == "exit_75"


@in_loop
async def test_a_signal_is_a_failure_of_its_name() -> None:
    outcome = failed((await script("kill -SEGV $$")).outcome)
    assert (outcome.code, outcome.message) == ("killed", "the program was ended by SIGSEGV")


@pytest.mark.parametrize(
    ("argv", "fields", "said"),
    [
        (["/no/such/program"], {}, "executing /no/such/program: No such file"),
        (["/usr"], {}, "executing /usr: Permission denied"),
        ([SH], {"cwd": "/no/such/folder"}, "entering /no/such/folder: No such file"),
    ],
)
@in_loop
async def test_a_program_that_cannot_be_started_says_why(argv: list[str], fields: dict[str, Any], said: str) -> None:
    outcome = failed((await ran(*argv, **fields)).outcome)
    assert outcome.code == "launch_failed"
    assert said in outcome.message


@in_loop
async def test_a_system_that_starts_no_more_processes_spends_no_failure() -> None:
    with mock.patch.object(sys, "executable", "/no/such/python"):
        done = await script("exit 0")
    assert done.outcome == Interrupted("process_unavailable")


@in_loop
async def test_a_keeper_that_is_killed_takes_its_program_along(tmp_path: Path) -> None:
    fifo = Fifo(tmp_path)
    attempt = asyncio.create_task(script(f"exec 9>{fifo.path}; kill -9 $PPID; while :; do :; done"))
    with await fifo.opened() as alive:
        assert failed((await attempt).outcome).code == "process_died"
        assert await asyncio.to_thread(alive.read) == b""


# -- ending it -------------------------------------------------------------------------------------------------------


@in_loop
async def test_an_attempt_asked_to_stop_asks_the_whole_group_and_keeps_what_it_wrote(tmp_path: Path) -> None:
    fifo = Fifo(tmp_path)
    child = f"(trap 'echo child too; exit' TERM; exec 9>{fifo.path}; while :; do sleep 1; done)"
    text = f"trap 'echo cleaned; exit 3' TERM; {child} & wait"
    attempt = asyncio.create_task(script(text))
    with await fifo.opened() as alive:
        attempt.cancel()
        done = await attempt
        assert await asyncio.to_thread(alive.read) == b""
    assert done.outcome == Stopped()
    assert sorted(out(done).splitlines()) == ["child too", "cleaned"]
    assert done.receipts[0].facts["status"] == 3


@pytest.mark.case("schedules", 56)
@in_loop
async def test_a_group_that_ignores_the_request_is_killed_after_the_grace(tmp_path: Path) -> None:
    fifo, second = Fifo(tmp_path), Fifo(tmp_path, "second")
    stubborn = STUBBORN.format(fifo=second.path)
    text = f"trap '' TERM; {sys.executable} -S -c \"{stubborn}\" & exec 9>{fifo.path}; wait"
    attempt = asyncio.create_task(script(text, grace="100ms"))
    with await fifo.opened() as alive, await second.opened() as other:
        await asyncio.to_thread(other.readline)
        attempt.cancel()
        done = await attempt
        assert done.outcome == Stopped()
        assert done.receipts[0].facts["status"] == -signal.SIGKILL
        assert await asyncio.to_thread(alive.read) == b""
        assert await asyncio.to_thread(other.read) == b""


@in_loop
async def test_an_attempt_asked_twice_does_not_wait_for_the_grace(tmp_path: Path) -> None:
    fifo = Fifo(tmp_path)
    attempt = asyncio.create_task(ran(sys.executable, "-S", "-c", STUBBORN.format(fifo=fifo.path), grace="1h"))
    with await fifo.opened() as alive:
        await asyncio.to_thread(alive.readline)
        attempt.cancel()
        await asyncio.sleep(0)
        attempt.cancel()
        done = await attempt
    assert (done.outcome, done.receipts[0].facts["status"]) == (Stopped(), -signal.SIGKILL)


@pytest.mark.case("schedules", 56)
@pytest.mark.parametrize("begin", ["", "setsid "], ids=["in the group", "in a session of its own"])
@in_loop
async def test_a_grandchild_that_holds_the_pipe_does_not_prolong_the_attempt_and_is_gone_after_it(
    tmp_path: Path, begin: str
) -> None:
    fifo = Fifo(tmp_path)
    grandchild = f'{begin}{sys.executable} -S -c "{STUBBORN.format(fifo=fifo.path)}"'
    attempt = asyncio.create_task(script(f"({grandchild} &) ; echo told; read line < {tmp_path}/go", grace="1h"))
    os.mkfifo(tmp_path / "go")
    with await fifo.opened() as alive:
        await asyncio.to_thread(alive.readline)
        await asyncio.to_thread((tmp_path / "go").write_text, "go\n")
        done = await attempt
        assert (done.outcome, out(done)) == (Succeeded(b'{"exit_status":0}'), "told\n")
        assert await asyncio.to_thread(alive.read) == b"", "nobody holds it any more"


WORKER = """
import asyncio
from mainspring.core.launch import Launch
from mainspring.targets.programs import ProgramRules
from mainspring.targets.secrets import References
from mainspring.targets.shell import ShellTarget
shell = ShellTarget(vault=References(named={{}}, follow=str), rules=ProgramRules(enabled=True, allow=("*",)))
spec = shell.read({argv!r})
print(asyncio.run(shell.run(spec, Launch(run_id="r"))))
"""


@pytest.mark.case("schedules", 56)
@in_loop
async def test_a_worker_that_is_killed_takes_the_program_and_what_it_started_along(tmp_path: Path) -> None:
    fifo = Fifo(tmp_path)
    stubborn = f'setsid {sys.executable} -S -c "{STUBBORN.format(fifo=fifo.path)}"'
    text = f"trap '' TERM; ({stubborn} &); wait; while :; do sleep 1; done"
    program = WORKER.format(argv={"argv": [SH, "-c", text], "env": GIVEN})
    worker = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
    with await fifo.opened() as alive:
        await asyncio.to_thread(alive.readline)
        worker.kill()
        assert await asyncio.to_thread(alive.read) == b""
    await worker.wait()


# -- output ----------------------------------------------------------------------------------------------------------

HEAVY = """
import asyncio, json, resource, sys
from mainspring.core.launch import Launch
from mainspring.targets.programs import ProgramRules
from mainspring.targets.secrets import References
from mainspring.targets.shell import ShellTarget
shell = ShellTarget(vault=References(named={}, follow=str), rules=ProgramRules(enabled=True, allow=("*",)))
async def main():
    await shell.run(shell.read({"argv": ["/bin/echo"]}), Launch(run_id="r"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    text = "printf begin; head -c 300000000 /dev/zero; printf end; echo also >&2"
    done = await shell.run(shell.read({"argv": ["/bin/sh", "-c", text], "env": {"PATH": "/usr/bin:/bin"}}), Launch(run_id="r"))
    stdout, stderr = done.receipts
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps([type(done.outcome).__name__, used, stdout.size, stdout.between, stdout.kept, stderr.text,
        stdout.head[:6].decode(), stdout.tail[-4:].decode(), stdout.sha256]))
asyncio.run(main())
"""


@pytest.mark.case("schedules", 57)
def test_endless_output_costs_bounded_memory_and_keeps_head_tail_and_the_count_between() -> None:
    done = subprocess.run([sys.executable, "-c", HEAVY], capture_output=True, text=True, check=True)
    outcome, used_kib, size, between, kept, stderr, head, tail, digest = json.loads(done.stdout)
    assert (outcome, size, kept, between) == ("Succeeded", 300_000_008, 256 * 1024, 300_000_008 - 256 * 1024)
    assert (head, tail, stderr, len(digest)) == ("begin\0", "\0end", "also\n", 64)
    assert used_kib < 8 * 1024, f"{used_kib} KiB more than before"


@in_loop
async def test_bytes_that_are_no_text_are_kept_raw_and_shown_escaped() -> None:
    done = await ran("/usr/bin/printf", "a\\377\\000b")
    assert done.receipts[0].head == b"a\xff\x00b"
    assert out(done) == "a\\xff\x00b"


@in_loop
async def test_a_secret_is_hidden_in_whatever_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    text = 'echo "$T"; echo "[$T]" >&2; echo "last: $T" >&2; head -c 131060 /dev/zero; echo $T; head -c 900000 /dev/zero; exit 5'
    done = await script(text, env={"T": secret("t")}, at=target(secrets={"t": CANARY}))
    told = repr(done.outcome) + "".join(repr(each) + each.encoded().decode() + each.text for each in done.receipts)
    assert "canary" not in told
    assert failed(done.outcome).message == "the program ended with exit status 5: last: ***"
    assert "canary" not in caplog.text


@in_loop
async def test_a_secret_that_cannot_be_had_is_a_broken_launch() -> None:
    done = await script("exit 0", env={"T": secret("gone")})
    assert done.outcome == Interrupted("secret_unavailable")
    assert done.receipts[0].text == "there is no secret gone"


@in_loop
async def test_a_value_that_no_argument_can_hold_parks_the_run() -> None:
    for payload in ("a\0b", "x" * 200_000):
        outcome = (await ran("/bin/echo", "{{ payload. }}", launch=Launch(run_id="r", payload=payload))).outcome
        assert isinstance(outcome, Unworkable)
        assert outcome.code == "invalid_payload"


@in_loop
async def test_a_run_of_a_program_has_everything_in_its_payload() -> None:
    body = json.dumps({"target": {"argv": ["/bin/echo", "{{ payload./n }}"]}, "payload": {"n": 5}}).encode()
    done = await Targets([target()]).run("shell", body, run_id="run-9", attempt=1)
    assert out(done) == "5\n"


# -- what is allowed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("enabled", "allow", "program", "rule"),
    [
        (False, ("*",), "/bin/echo", "SHELL_ENABLED"),
        (True, (), "/bin/echo", "SHELL_ALLOW"),
        (True, ("/bin/cat", "/usr/bin/*"), "/bin/echo", "SHELL_ALLOW"),
        (True, ("/bin/*",), "/bin/deep/echo", "SHELL_ALLOW"),
        (True, ("/bin/ech",), "/bin/echo", "SHELL_ALLOW"),
        (True, ("/bin/*",), "/bin/echo", None),
        (True, ("/bin/echo",), "/bin/echo", None),
        (True, ("/*",), "/echo", None),
    ],
)
@in_loop
async def test_only_what_an_operator_allows_is_run(enabled: bool, allow: tuple[str, ...], program: str, rule: str | None) -> None:
    shell = target(enabled=enabled, allow=allow)
    spec = shell.read({"argv": [program, "x"]})
    if rule is None:
        await shell.review(spec)
        return
    with pytest.raises(TargetRefused) as refused:
        await shell.review(spec)
    assert refused.value.rule == rule
    outcome = failed((await shell.run(spec, LAUNCH)).outcome)
    assert (outcome.code, outcome.final, f"(rule {rule})" in outcome.message) == ("target_refused", True, True)


@in_loop
async def test_no_target_runs_a_program_as_root() -> None:
    with pytest.raises(TargetRefused) as refused:
        await target().review(target().read({"argv": ["/bin/echo"], "user": "root"}))
    assert refused.value.rule == "user"


def test_without_a_word_from_the_operator_nothing_may_be_run() -> None:
    shell = ShellTarget(vault=Box({}))
    with pytest.raises(TargetRefused, match="SHELL_ENABLED"):
        asyncio.run(shell.review(shell.read({"argv": ["/bin/echo"]})))


def test_every_mistake_is_named_at_once_with_what_to_write() -> None:
    written = {
        "argv": ["purge", "a\0b", 7, "{{ nothing }}"],
        "env": {"MAINSPRING_X": "1", "LD_PRELOAD": "x", "1X": "y", "A": 5, "B": "{{ no }}"},
        "cwd": "here",
        "user": "a b",
        "stdin": "tty",
        "grace": "2d",
        "success_codes": [0, 256],
        "release_code": 0,
        "skip_code": -1,
        "release_after": "0s",
        "limits": {"cpu": "1ms", "memory": 5, "nice": -5, "stack": 1},
        "shell": True,
    }
    with pytest.raises(TargetInvalid) as refused:
        target().read(written)
    assert {error["path"] for error in refused.value.errors} == {
        "argv[0]", "argv[1]", "argv[2]", "argv[3]", "env.MAINSPRING_X", "env.LD_PRELOAD", "env.1X", "env.A", "env.B", "cwd", "user",
        "stdin", "grace", "success_codes[1]", "release_code", "skip_code", "release_after", "limits.cpu", "limits.memory",
        "limits.nice", "limits.stack", "shell",
    }  # fmt: skip
    assert all(error["message"] for error in refused.value.errors)


@pytest.mark.parametrize(
    "argv",
    [
        *("/bin/echo hi", [], None, ["echo"], ["/bin/../bin/sh"], ["/bin//sh"], ["//bin/sh"], ["/bin/{{ run.id }}"]),
        *(["/x"] * 1_025, ["/x", "y" * 140_000]),
    ],
)
def test_what_is_no_list_of_a_program_and_its_arguments_is_refused(argv: object) -> None:
    with pytest.raises(TargetInvalid) as refused:
        target().read({"argv": argv})
    assert refused.value.errors[0]["path"].startswith("argv")


def test_what_is_written_in_code_is_what_is_stored() -> None:
    assert shell_target(["/usr/bin/purge", "--all"], grace="5s") == {"shell": {"argv": ["/usr/bin/purge", "--all"], "grace": "5s"}}
    with pytest.raises(TargetInvalid, match="no shell to split"):
        shell_target("/usr/bin/purge --all")

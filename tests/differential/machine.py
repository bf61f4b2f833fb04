"""The random sequence of operations: a state machine whose every rule is one act, done on every database in lock step.

Here: what is drawn, from small pools in which things meet again (the same keys, queues, workers and runs), with what is awkward
among it. Targets are drawn as numbers and looked up among what the answers named so far, latest first. Not here: the acts
themselves (``acts.py``) and the comparison (``lockstep.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from mainspring.core.attempts import Unworkable
from mainspring.core.debounce import Debounce
from mainspring.core.dependencies import Condition
from mainspring.core.durations import DAY, HOUR, MILLISECOND, MINUTE, SECOND
from mainspring.core.ids import uuid7
from mainspring.core.limits import Limit, Measure, Rate, Scope
from mainspring.core.states import State
from mainspring.operations.attempts import Beat, HeldNow
from mainspring.operations.claims import Claimed
from mainspring.operations.enqueue import DEFAULT_KEY_TTL
from mainspring.testing.clock import START
from tests.differential import acts
from tests.differential.acts import Act, Lifted, Wish
from tests.differential.lockstep import Answer, Lockstep, Tally
from tests.differential.sides import Sides

UNKNOWN = uuid7((START - 3000 * DAY) // 1000, 0)

QUEUES = ("main", "Main", "main-2", "main.b", "slow")
TASKS = ("work", "work.more", "Work")
WORKERS = ("w1", "w2", "W3")  # w1 is drawn most often
PLAIN: Mapping[str, Any] = {}
LANES = (
    ("work", "main", 0, PLAIN),
    ("work", "main", 0, PLAIN),
    ("work", "main", 0, PLAIN),
    ("work", "main", 5, PLAIN),
    ("work", "main", 5, PLAIN),
    ("work", "main", -1, PLAIN),
    ("work", "main", 0, {"concurrency_key": "a"}),
    ("work", "main", 5, {"concurrency_key": "a"}),
    ("work", "main", 0, {"concurrency_key": 'b "1"'}),
    ("work.more", "main", 0, PLAIN),
    ("work", "Main", 0, PLAIN),
    ("work", "slow", 0, PLAIN),
    ("work", "slow", 0, {"concurrency_key": "a", "uses": (("gpu", 2),)}),
    ("Work", "main-2", -1000, {"uses": (("gpu", 1),)}),
    ("work.more", "main.b", 1000, PLAIN),
)
TEXTS = ("because", "", 'odd "quotes" and \\', "{a,b}", "NULL", "línea\nдва 🙂", "%s %(id)s ?", "a \x00 b", "\ud800", "x" * 1001)
KEYS = (None, None, None, None, "k", "k", 'K "1" \\', "é", "e\u0301", "{NULL,1}", "k ")
BODIES = (b"[]", b"[]", b"[]", b"[]", b"[]", b"[]", b"[]", b'{"a":1}', b'"\xf0\x9f\x99\x82 \\ "', b"\x00\xff\x7f")

INDEX = st.integers(0, 40)
NAMESPACE = st.sampled_from(("test",) * 9 + ("other",))
WORKER = st.sampled_from(("w1", "w1", *WORKERS))
QUEUE = st.sampled_from(("main",) * 5 + (*QUEUES, "nowhere"))
TEXT = st.sampled_from(TEXTS)
SIZE = st.sampled_from((100, 1, 2, 3))
SERVED = st.sampled_from((QUEUES, QUEUES, QUEUES, ("main",), ("main", "slow"), ("Main", "main.b", "nowhere"), ()))
KNOWN = st.sampled_from((TASKS, TASKS, TASKS, ("work",), ("Work", "work.more"), ()))
OUTCOME = st.sampled_from((0, 0, 1, 1, 1, 2, 2, 6, 9, 11, 11, *range(len(acts.outcomes(0)))))
DRAW = st.sampled_from((0.0, 0.5, 0.999))
STATES = st.sampled_from((None, None, tuple(State)[2:3], (State.RUNNING, State.CANCELLING), tuple(State)[-4:], tuple(State)[:5]))
ENDS = st.sampled_from((*[tuple(State)[-4:]] * 4, (State.SUCCEEDED,), (State.FAILED, State.CANCELLED), (State.QUEUED,)))
SPANS = (1, 100 * MILLISECOND, SECOND, 5 * SECOND, 10 * SECOND, 30 * SECOND, MINUTE, 5 * MINUTE, HOUR, DAY, 31 * DAY)
#: When a run is due: ``delay`` from now, or ``due_at`` so far from now.
WHEN = st.sampled_from(
    (("delay", 0),) * 8
    + tuple(("delay", span) for span in (1, SECOND, 5 * SECOND, HOUR))
    + tuple(("due_at", span) for span in (-SECOND, 0, 1, 5 * SECOND, MINUTE, DAY))
)
WISH = st.tuples(st.sampled_from(LANES), st.integers(0, 3), st.sampled_from(BODIES), WHEN)
KEYED = st.tuples(WISH, st.sampled_from(KEYS), st.sampled_from(KEYS))
#: What becomes of a second call of a singleton.
HOW = st.sampled_from(
    tuple({"on_singleton": said} for said in ("replace", "replace", "replace", "skip"))
    + tuple({"debounce": Debounce("5s", max_wait="15s", edge=edge)} for edge in ("trailing", "leading", "both"))
)
UPSTREAMS = st.lists(st.tuples(INDEX, st.sampled_from(tuple(Condition))), min_size=1, max_size=2)
LIMITED = st.sampled_from(
    ((Scope.EACH_KEY, "main", ""),) * 3
    + (
        (Scope.KEY, "main", "a"),
        (Scope.TASK, "work", ""),
        (Scope.POOL, "gpu", ""),
        (Scope.QUEUE, "main", ""),
        (Scope.NAMESPACE, "", ""),
    )
)
RATES = (Rate(1, per="5s"), Rate(3, per="1s", burst=3), Rate(2, per="10s", burst=2, strict=True), Rate(0, per="1s"))
SAID = st.sampled_from((Limit(1), Limit(1), Limit(2), Limit(0), *RATES, *RATES, None))

ENQUEUE = rule(drawn=st.lists(KEYED, min_size=1, max_size=3), ttl=st.sampled_from((30 * DAY, MINUTE, SECOND)), namespace=NAMESPACE)
FINISH = rule(outcome=OUTCOME, draw=DRAW)
FINISH_SEVERAL = rule(
    worker=WORKER,
    drawn=st.lists(st.tuples(OUTCOME, DRAW), min_size=1, max_size=4),
    limits=st.sampled_from((True, True, True, False)),
    most=st.sampled_from((100, 100, 1, 2, None)),
)
MAKE_DUE = rule(span=st.sampled_from(SPANS), most=SIZE)
LIMIT = rule(
    queue=QUEUE,
    size=st.sampled_from((1, 2, 3, 5, 0, None)),
    by=st.sampled_from(("operator", "operator", "code")),
    namespace=NAMESPACE,
)


class Differential(RuleBasedStateMachine):
    """Callers, workers, operators and the leader, as one sequence of acts.

    Each example does without about half of the rules, which is good for variety; what the rest lives on has several names, so
    that an example without any enqueue or claim is rare.
    """

    def __init__(self, sides: Sides, tally: Tally) -> None:
        super().__init__()
        sides.clock.now = START
        self.lockstep = Lockstep(sides, tally)
        self.ids = 0
        self.known: list[str] = []
        self.batches: list[str] = []
        self.said: list[tuple[str, Act, str]] = []  # what created runs, to be said again
        self.lifted: list[Lifted] = []
        self.open: list[Lifted] = []  # what the workers have not told the end of
        self.ended: list[str] = []  # what may have ended, and what may be parked
        self.parked: list[str] = []
        self.lowered: set[str] = set()
        self.kept_until: dict[str, int] = {}
        self.is_unswept = False

    # -- targets ----------------------------------------------------------------------------------------------------

    @property
    def now(self) -> int:
        return self.lockstep.clock.now

    def new_id(self) -> str:
        self.ids += 1
        return uuid7((START - 3000 * DAY) // 1000, self.ids << 20)

    def run_id(self, index: int) -> str:
        return self.known[-1 - index % len(self.known)] if self.known and index < 40 else UNKNOWN

    def likely(self, index: int, pool: Sequence[str]) -> str:
        """A run to which something of the kind happened, mostly; else any."""
        return pool[-1 - index // 4 % len(pool)] if pool and index % 4 else self.run_id(index)

    def claim_at(self, index: int) -> Lifted | None:
        return self.lifted[-1 - index % len(self.lifted)] if self.lifted else None

    def wish(self, drawn: tuple[Any, ...], key: str | None = None, singleton: str | None = None) -> Wish:
        (task, queue, priority, more), policy, body, (kind, span) = drawn
        run_id = self.new_id()
        when = {"delay": span} if kind == "delay" else {"due_at": self.now + span}
        lane = {"task": task, "queue": queue, "priority": priority, "lane": more}
        return Wish(id=run_id, policy=policy, body=body, key=key, singleton=singleton, **lane, **when)

    def create(self, name: str, act: Act, namespace: str, ids: Sequence[str]) -> Answer:
        answer = self.lockstep.do(name, act, namespace)
        if answer.refused is None:
            self.known += ids
            self.said.append((name, act, namespace))
        return answer

    def took(self, worker: str, claimed: Sequence[Claimed]) -> None:
        lifted = [Lifted(held, worker) for held in claimed]
        self.lifted += lifted
        self.open += lifted

    def teardown(self) -> None:
        if self.lockstep.is_broken:
            return
        if self.is_unswept:
            self.lockstep.do("sweep", acts.sweep)
        over = {run_id for run_id, until in self.kept_until.items() if until <= self.now}
        self.lockstep.compare_rows(self.lowered, unkept=over)

    # -- callers ----------------------------------------------------------------------------------------------------

    @initialize(
        drawn=st.lists(KEYED, min_size=1, max_size=5),
        members=st.one_of(st.none(), st.lists(WISH, min_size=1, max_size=3)),
        size=st.sampled_from((None, None, 1, 2, 3)),
        of_each=st.sampled_from((None, None, None, *RATES[:3], Limit(1), Limit(1))),
    )
    def begin(self, drawn: list[Any], members: list[Any] | None, size: int | None, of_each: Limit | Rate | None) -> None:
        """What an example begins with, whatever it does without afterwards: runs and a worker; a batch; limits."""
        self.enqueue(drawn, 30 * DAY, "test")
        self.register("w1", QUEUES, TASKS)
        if members is not None:
            self.batch(members, members[0], "all_succeeded", "test")
        if size is not None:
            self.limit("main", size, "operator", "test")
        if of_each is not None:
            self.lockstep.do("limit of each key", acts.limit_of(Scope.EACH_KEY, "main", of_each))

    @ENQUEUE
    def enqueue(self, drawn: list[Any], ttl: int, namespace: str) -> None:
        wishes = [self.wish(*each) for each in drawn]
        self.create("enqueue", acts.enqueue(wishes, ttl), namespace, [wish.id for wish in wishes])
        self.kept_until |= {wish.id: self.now + ttl for wish in wishes}

    @ENQUEUE
    def enqueue_too(self, drawn: list[Any], ttl: int, namespace: str) -> None:
        self.enqueue(drawn, ttl, namespace)

    @ENQUEUE
    def enqueue_as_well(self, drawn: list[Any], ttl: int, namespace: str) -> None:
        self.enqueue(drawn, ttl, namespace)

    @rule(drawn=st.lists(KEYED, min_size=1, max_size=3), how=HOW, namespace=NAMESPACE)
    def enqueue_over(self, drawn: list[Any], how: Any, namespace: str) -> None:
        """Calls that may find an owner of their singleton, and then do something with it."""
        wishes = [self.wish(wish, key, singleton or "s") for wish, key, singleton in drawn]
        self.create("enqueue over", acts.enqueue(wishes, DEFAULT_KEY_TTL, how), namespace, [wish.id for wish in wishes])
        self.kept_until |= {wish.id: self.now + DEFAULT_KEY_TTL for wish in wishes}

    @rule(drawn=st.lists(KEYED, min_size=1, max_size=2), upstreams=UPSTREAMS, is_chain=st.booleans())
    def enqueue_after(self, drawn: list[Any], upstreams: list[Any], is_chain: bool) -> None:
        """Runs that wait for others, for a batch, or for one another: those of a chain without keys, and for success only."""
        after = tuple({self.upstream(index): condition for index, condition in upstreams}.items())
        wishes = [replace(self.wish(*each), after=after) for each in drawn]
        if is_chain:
            wishes = [replace(wish, key=None, singleton=None) for wish in wishes]
            wishes[1:] = [replace(wish, after=((wishes[0].id, Condition.SUCCEEDED),)) for wish in wishes[1:]]
        self.create("enqueue after", acts.enqueue(wishes, DEFAULT_KEY_TTL), "test", [wish.id for wish in wishes])
        self.kept_until |= {wish.id: self.now + DEFAULT_KEY_TTL for wish in wishes}

    def upstream(self, index: int) -> str:
        return self.batches[-1 - index // 4 % len(self.batches)] if self.batches and index % 4 == 3 else self.run_id(index)

    @rule(drawn=WISH, expires_in=st.sampled_from((None, *SPANS)), deadline_in=st.sampled_from((None, *SPANS)))
    def enqueue_in_time(self, drawn: Any, expires_in: int | None, deadline_in: int | None) -> None:
        """A run that nobody wants after a while, or that has to end in time."""
        wish = replace(self.wish(drawn), expires_in=expires_in, deadline_in=deadline_in)
        self.create("enqueue in time", acts.enqueue([wish], DEFAULT_KEY_TTL), "test", [wish.id])

    @rule(drawn=WISH, count=st.integers(1, 6))
    def enqueue_alike(self, drawn: Any, count: int) -> None:
        ids = [self.new_id() for _ in range(count)]
        self.create("enqueue alike", acts.enqueue_alike(self.wish(drawn), ids), "test", ids)

    @rule(
        drawn=st.lists(WISH, max_size=3),
        then=st.one_of(WISH, st.none()),
        on=st.sampled_from(("done", "all_succeeded", "any_failed")),
        namespace=NAMESPACE,
        seal=st.sampled_from((True, True, False)),
    )
    def batch(self, drawn: list[Any], then: Any, on: Any, namespace: str, seal: bool = True) -> None:
        batch_id = self.new_id()
        callback = self.wish(then) if then else None
        members = [self.wish(each) for each in drawn]
        ids = [wish.id for wish in (*members, *([callback] if callback else []))]
        self.create("batch", acts.batch(batch_id, members, callback, on, seal=seal), namespace, ids)
        self.batches.append(batch_id)

    @rule(index=INDEX, drawn=st.lists(WISH, min_size=1, max_size=2))
    def join_batch(self, index: int, drawn: list[Any]) -> None:
        members = [self.wish(each) for each in drawn]
        self.create("join batch", acts.join(self.batch_id(index), members), "test", [wish.id for wish in members])

    @rule(index=INDEX, how=st.sampled_from(("close", "cancel", "park")), most=SIZE)
    def end_batch(self, index: int, how: str, most: int) -> None:
        """Nobody joins a batch any more; its members are cancelled; nobody has joined it for long."""
        batch_id = self.batch_id(index)
        ways = {"close": acts.close_batch(batch_id), "cancel": acts.cancel_batch(batch_id, most), "park": acts.park_idle(self.now)}
        self.lockstep.do(f"{how} batch", ways[how])

    def batch_id(self, index: int) -> str:
        return self.batches[-1 - index % len(self.batches)] if self.batches else UNKNOWN

    @rule(index=INDEX)
    def say_again(self, index: int) -> None:
        """A caller whose commit was unknown repeats itself, with the same ids."""
        if self.said:
            name, act, namespace = self.said[-1 - index % len(self.said)]
            self.lockstep.do(f"{name} again", act, namespace)

    # -- workers ----------------------------------------------------------------------------------------------------

    @rule(worker=WORKER, served=SERVED, tasks=KNOWN)
    def register(self, worker: str, served: Sequence[str], tasks: Sequence[str]) -> None:
        quoted = ["[" + ",".join(f'"{name}"' for name in names) + "]" for names in (tasks, served)]
        self.lockstep.do("register", acts.register(worker, *quoted))

    @rule(worker=WORKER, stays=st.sampled_from((True, True, False)))
    def renew_or_leave(self, worker: str, stays: bool) -> None:
        self.lockstep.do("renew" if stays else "leave", acts.renew(worker) if stays else acts.leave(worker))

    @rule(worker=WORKER)
    def claim_all(self, worker: str) -> None:
        self.took(worker, self.lockstep.do("claim", acts.claim(worker, 100, QUEUES, TASKS)).value)

    @rule(worker=WORKER)
    def claim_all_too(self, worker: str) -> None:
        self.claim_all(worker)

    @rule(worker=WORKER, most=st.sampled_from((1, 2, 2, 3)))
    def claim_some(self, worker: str, most: int) -> None:
        """Fewer than there may be: which of them come first shows."""
        self.took(worker, self.lockstep.do("claim", acts.claim(worker, most, QUEUES, TASKS)).value)

    @rule(worker=WORKER, most=SIZE, served=SERVED, tasks=KNOWN, namespace=NAMESPACE)
    def claim(self, worker: str, most: int, served: Sequence[str], tasks: Sequence[str], namespace: str) -> None:
        self.took(worker, self.lockstep.do("claim", acts.claim(worker, most, served, tasks), namespace).value)

    @FINISH
    def finish(self, outcome: int, draw: float) -> None:
        """The worker with the latest claim that nobody told the end of, tells it; if there is none, one claims first."""
        if not self.open:
            self.claim_all("w1")
        if self.open:
            self.finish_some(self.open[-1].worker, [(outcome, draw)], True, None)

    @FINISH
    def finish_too(self, outcome: int, draw: float) -> None:
        self.finish(outcome, draw)

    @FINISH_SEVERAL
    def finish_several(self, worker: str, drawn: list[Any], limits: bool, most: int | None) -> None:
        """A worker's turn: ends of several, and with ``most`` the next claim. ``limits=False``: it has heard of none."""
        self.finish_some(worker, drawn, limits, most)

    @FINISH_SEVERAL
    def finish_several_too(self, worker: str, drawn: list[Any], limits: bool, most: int | None) -> None:
        self.finish_several(worker, drawn, limits, most)

    def finish_some(self, worker: str, drawn: Sequence[tuple[int, float]], limits: bool, most: int | None) -> None:
        if self.open and all(lifted.worker != worker for lifted in self.open):
            worker = self.open[-1].worker
        told = {lifted.held.id: lifted for lifted in self.open if lifted.worker == worker}
        mine = list(told.values())[::-1][: len(drawn)]
        self.open = [lifted for lifted in self.open if lifted not in mine]
        self.tell_ends(mine, worker, drawn, limits=limits, then_claim=(most, QUEUES, TASKS) if most else ())

    @rule(index=INDEX, outcome=OUTCOME, own=st.sampled_from((True, True, False)), limits=st.booleans())
    def finish_late(self, index: int, outcome: int, own: bool, limits: bool) -> None:
        """The end of any claim there ever was: once more, long lost, or by a worker that never had it."""
        if lifted := self.claim_at(index):
            self.tell_ends([lifted], lifted.worker if own else "w9", [(outcome, 0.0)], limits=limits, name="finish late")

    def tell_ends(
        self,
        told: Sequence[Lifted],
        worker: str,
        drawn: Sequence[tuple[int, float]],
        *,
        limits: bool,
        then_claim: Any = (),
        name: str = "finish",
    ) -> None:
        ways = acts.outcomes(self.now)
        ends = [(lifted.held, ways[outcome], draw) for lifted, (outcome, draw) in zip(told, drawn, strict=False)]
        self.is_unswept |= not limits
        self.ended += [held.id for held, _, _ in ends]
        self.parked += [held.id for held, outcome, _ in ends if isinstance(outcome, Unworkable)]
        act = acts.finish(ends, worker, limits=limits, then_claim=then_claim)
        _, claimed = self.lockstep.do(name, act).value
        self.took(worker, claimed)

    @rule(index=INDEX)
    def start(self, index: int) -> None:
        if lifted := self.claim_at(index):
            self.lockstep.do("start", acts.start(lifted.held))

    @rule(
        indices=st.lists(INDEX, min_size=1, max_size=3),
        details=st.sampled_from((None, b"1", b"\x00\xff")),
        progress=st.sampled_from((None, "0.5", '{"at":"\u00e9 \\" "}')),
    )
    def heartbeat(self, indices: list[int], details: bytes | None, progress: str | None) -> None:
        found = {lifted.held.id: lifted.held for index in indices if (lifted := self.claim_at(index))}
        self.lockstep.do("heartbeat", acts.heartbeat([Beat(h.id, h.token, details, progress) for h in found.values()]))

    @rule(indices=st.lists(INDEX, min_size=1, max_size=3))
    def give_back(self, indices: list[int]) -> None:
        found = {lifted.held.id: lifted.held for index in indices if (lifted := self.claim_at(index))}
        orphans = [HeldNow(held.id, held.token, State.RUNNING) for held in found.values()]
        self.lockstep.do("give back", acts.give_back(orphans))

    # -- operators --------------------------------------------------------------------------------------------------

    @rule(index=INDEX, reason=st.one_of(st.none(), TEXT), namespace=NAMESPACE)
    def cancel(self, index: int, reason: str | None, namespace: str) -> None:
        run_id = self.run_id(index)
        self.ended.append(run_id)
        self.lockstep.do("cancel", lambda fleet: fleet.cancel(run_id, reason), namespace)

    @rule(index=INDEX, reason=st.one_of(st.none(), TEXT))
    def cancel_running(self, index: int, reason: str | None) -> None:
        if lifted := self.claim_at(index):
            self.lockstep.do("cancel running", lambda fleet: fleet.cancel(lifted.held.id, reason))

    @rule(index=INDEX, namespace=NAMESPACE)
    def retry(self, index: int, namespace: str) -> None:
        new_id = self.new_id()
        self.create("retry", acts.retry(self.likely(index, self.ended), new_id), namespace, [new_id])
        self.kept_until[new_id] = self.now + DEFAULT_KEY_TTL

    @rule(index=INDEX, reason=TEXT.filter(lambda text: "\x00" not in text and "\ud800" not in text), namespace=NAMESPACE)
    def park(self, index: int, reason: str, namespace: str) -> None:
        run_id = self.run_id(index)
        self.parked.append(run_id)
        self.lockstep.do("park", lambda fleet: fleet.park(run_id, reason), namespace)

    @rule(index=INDEX, reason=TEXT, namespace=NAMESPACE)
    def resume(self, index: int, reason: str, namespace: str) -> None:
        if not self.parked:
            self.park(index, "unknown_task", namespace)
        run_id = self.likely(index, self.parked)
        self.lockstep.do("resume", lambda fleet: fleet.resume(run_id, reason), namespace)

    @rule(index=INDEX, reason=TEXT, namespace=NAMESPACE)
    def fail(self, index: int, reason: str, namespace: str) -> None:
        if not self.parked:
            self.park(index, "unknown_task", namespace)
        run_id = self.likely(index, self.parked)
        self.lockstep.do("fail", lambda fleet: fleet.fail(run_id, reason), namespace)

    @rule(index=INDEX)
    def rerun(self, index: int) -> None:
        new_id = self.new_id()
        self.create("rerun", acts.rerun(self.likely(index, self.ended), new_id), "test", [new_id])

    @rule(index=INDEX, span=st.sampled_from((-SECOND, 0, *SPANS)), namespace=NAMESPACE)
    def reschedule(self, index: int, span: int, namespace: str) -> None:
        self.lockstep.do("reschedule", acts.reschedule(self.run_id(index), self.now + span), namespace)

    @rule(index=INDEX, priority=st.sampled_from((0, 5, 7, -1000)), namespace=NAMESPACE)
    def set_priority(self, index: int, priority: int, namespace: str) -> None:
        self.lockstep.do("set priority", acts.set_priority(self.run_id(index), priority), namespace)

    @rule(task=st.sampled_from(TASKS), key=st.sampled_from(KEYS).filter(bool), namespace=NAMESPACE)
    def reset_key(self, task: str, key: str, namespace: str) -> None:
        self.lockstep.do("reset key", acts.reset_key(task, key), namespace)

    @rule(
        queue=QUEUE,
        most=st.sampled_from((1, 3, 5, None, None)),
        overflow=st.sampled_from(("refuse", "skip", "drop_oldest")),
        namespace=NAMESPACE,
    )
    def bound(self, queue: str, most: int | None, overflow: Any, namespace: str) -> None:
        """How much may wait in a queue; what waits already stays."""
        self.lockstep.do("bound", acts.bound(queue, most, overflow), namespace)

    @rule(over=LIMITED, said=SAID, measure=st.sampled_from(tuple(Measure)), namespace=NAMESPACE)
    def limit_of(self, over: Any, said: Any, measure: Measure, namespace: str) -> None:
        """Limits of other scopes than a queue, and rates; what runs already may be more than that."""
        scope, name, key = over
        answer = self.lockstep.do(f"limit of {scope}", acts.limit_of(scope, name, said, key=key, measure=measure), namespace)
        if scope in {Scope.KEY, Scope.EACH_KEY}:  # nobody says how much of each key runs
            self.lowered.add(name)
        elif answer.refused is None:
            self.lowered |= {each.name for each in answer.value if each.size is not None and (each.used or 0) > each.size}

    @LIMIT
    def limit(self, queue: str, size: int | None, by: str, namespace: str) -> None:
        answer = self.lockstep.do(f"limit by {by}", acts.limit(queue, size, by), namespace)
        if answer.refused is None:
            self.lowered |= {each.name for each in answer.value if each.limit is not None and each.used > each.limit}

    @LIMIT
    def limit_too(self, queue: str, size: int | None, by: str, namespace: str) -> None:
        self.limit(queue, size, by, namespace)

    @rule(queue=QUEUE, namespace=NAMESPACE, stop=st.booleans())
    def pause(self, queue: str, namespace: str, stop: bool) -> None:
        self.lockstep.do("pause" if stop else "unpause", acts.pause(queue) if stop else acts.unpause(queue), namespace)

    # -- time and the leader ----------------------------------------------------------------------------------------

    @rule()
    def blink(self) -> None:
        """The simplest thing there is, which is what is drawn most often when there is nothing better to try."""
        self.lockstep.clock.advance_us(1)

    @rule(span=st.sampled_from(SPANS))
    def pass_time(self, span: int) -> None:
        self.lockstep.clock.advance_us(span)

    @MAKE_DUE
    def make_due(self, span: int, most: int) -> None:
        """A while later, the leader queues what is due."""
        self.lockstep.clock.advance_us(span)
        self.lockstep.do("make due", acts.make_due(most))

    @MAKE_DUE
    def make_due_too(self, span: int, most: int) -> None:
        self.make_due(span, most)

    @rule(every=st.sampled_from((0, 5 * SECOND)))
    def reap(self, every: int) -> None:
        self.lockstep.do("reap", acts.reap(every))

    @rule(worker=WORKER)
    def bury(self, worker: str) -> None:
        """A worker's lease lapses in a fleet that was watched all the time, and its runs are taken from it."""
        self.lockstep.script(
            f"DELETE FROM fleet; INSERT INTO fleet (id, last_tick_at, reap_hold_until) VALUES (1, {self.now}, 0);"
            f"UPDATE workers SET expires_at = {self.now} WHERE id = '{worker}'"
        )
        self.lockstep.do("bury", acts.reap(0))

    @rule(most=SIZE, what=st.sampled_from(("expire", "enforce")))
    def keep_time(self, most: int, what: str) -> None:
        """The leader ends what is too late, after a while."""
        self.lockstep.clock.advance_us(SECOND)
        self.lockstep.do(what, acts.expire(most) if what == "expire" else acts.enforce(most))

    @rule(times=st.integers(1, 2))
    def sweep(self, times: int) -> None:
        for _ in range(times):
            self.lockstep.do("sweep", acts.sweep)

    @rule(age=st.sampled_from((0, 1, SECOND, MINUTE)), most=SIZE)
    def park_unserved(self, age: int, most: int) -> None:
        self.lockstep.do("park unserved", acts.park_unserved(self.now - age, most))

    @rule(
        age=st.sampled_from((HOUR, MINUTE, 0, -1)), states=ENDS, most=SIZE, cursor=st.one_of(st.none(), INDEX), namespace=NAMESPACE
    )
    def prune(self, age: int, states: Sequence[State], most: int, cursor: int | None, namespace: str) -> None:
        after = None if cursor is None else self.run_id(cursor)
        self.lockstep.do("prune", acts.prune(self.now - age, states, after, most), namespace)
        self.said.clear()  # nobody repeats a call so long after it

    @rule(age=st.sampled_from((-1, 0, MINUTE)))
    def forget(self, age: int) -> None:
        self.lockstep.do("forget", acts.forget(self.now - age))
        self.lockstep.forget_workers()

    # -- reading ----------------------------------------------------------------------------------------------------

    @rule(index=INDEX, after=st.integers(0, 4), most=SIZE, namespace=NAMESPACE)
    def look_at_run(self, index: int, after: int, most: int, namespace: str) -> None:
        self.lockstep.do("look at run", acts.look_at_run(self.run_id(index), after, most), namespace)

    @rule(
        states=STATES,
        task=st.sampled_from((None, None, *TASKS)),
        queue=st.one_of(st.none(), QUEUE),
        before=st.one_of(st.none(), INDEX),
        most=SIZE,
        namespace=NAMESPACE,
    )
    def look_at_list(self, states: Any, task: str | None, queue: str | None, before: int | None, most: int, namespace: str) -> None:
        at = None if before is None else self.run_id(before)
        self.lockstep.do("look at list", acts.look_at_list(states, task, queue, at, most), namespace)

    @rule(served=SERVED, tasks=KNOWN, namespace=NAMESPACE)
    def look_at_fleet(self, served: Sequence[str], tasks: Sequence[str], namespace: str) -> None:
        self.lockstep.do("look at fleet", acts.look_at_fleet(WORKERS, served, tasks), namespace)

    @rule(index=INDEX, after=st.one_of(st.none(), INDEX), most=SIZE, namespace=NAMESPACE)
    def look_at_batch(self, index: int, after: int | None, most: int, namespace: str) -> None:
        batch_id = self.batch_id(index)
        at = None if after is None else self.run_id(after)
        self.lockstep.do("look at batch", acts.look_at_batch(batch_id, at, most), namespace)

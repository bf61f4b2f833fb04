"""The captured policy: it comes back from its stored form as it was, every field of it."""

from __future__ import annotations

import json
from dataclasses import fields

from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.budgets import Budgets
from mainspring.core.policy import Policy
from mainspring.core.retry import Backoff, Called, Exponential, Fixed, Kinds, Linear, Steps

micros = st.integers(0, 10**15)
names = st.lists(st.text(min_size=1, max_size=20), max_size=3).map(tuple)
backoffs: st.SearchStrategy[Backoff] = st.one_of(
    st.builds(Fixed, delay_us=micros),
    st.builds(Linear, step_us=micros, max_us=micros),
    st.builds(Exponential, initial_us=micros, factor=st.floats(1, 1000), max_us=micros),
    st.builds(Called),
    st.builds(Steps, delays_us=st.lists(micros, min_size=1, max_size=5).map(tuple)),
)
policies = st.builds(
    Policy,
    budgets=st.builds(
        Budgets,
        max_attempts=st.integers(1, 10**6),
        max_interruptions=st.integers(1, 10**6),
        max_releases=st.none() | st.integers(0, 10**6),
    ),
    backoff=backoffs,
    jitter=st.floats(0, 1),
    timeout_us=st.none() | micros,
    grace_us=micros,
    heartbeat_timeout_us=st.none() | micros,
    kinds=st.builds(Kinds, on=names, never=names),
)


@given(policies)
def test_a_policy_survives_its_stored_form(policy: Policy) -> None:
    assert Policy.from_data(json.loads(json.dumps(policy.as_data()))) == policy


def test_no_field_is_left_out_of_the_stored_form() -> None:
    own = {field.name for field in fields(Policy)} - {"budgets", "kinds"}
    assert set(Policy().as_data()) == own | {field.name for field in fields(Budgets)} | {"retry_on", "never_on"}


def test_the_defaults_are_those_of_the_documentation() -> None:
    assert Policy().as_data() == {
        "max_attempts": 3,
        "max_interruptions": 10,
        "max_releases": None,
        "backoff": ["exponential", 1_000_000, 2.0, 300_000_000],
        "jitter": 0.1,
        "timeout_us": 3_600_000_000,
        "grace_us": 30_000_000,
        "heartbeat_timeout_us": None,
        "retry_on": [],
        "never_on": [],
        "run_ttl_us": 2_592_000_000_000,
        "result_ttl_us": 604_800_000_000,
        "receipt_ttl_us": 1_209_600_000_000,
    }

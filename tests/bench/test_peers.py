"""The suite survives its peers: one that is missing, fails or says nothing is told and passed over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench import peers, works

ROOT = Path(peers.__file__).parent


@pytest.mark.parametrize("peer", peers.PEERS, ids=lambda peer: peer.name)
def test_every_peer_has_a_driver_that_knows_each_of_its_works(peer: peers.Peer) -> None:
    driver = (ROOT / f"drive_{peer.driver}").read_text()
    assert not [work for work in peer.works if work not in driver]


def test_a_peer_that_is_not_installed_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(peers, "HOME", tmp_path)
    assert {peer.missing for peer in peers.PEERS} == {"not installed"}


def test_a_run_without_any_peer_measures_the_limit_and_us(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(peers, "HOME", tmp_path)
    drain = works.WORKS[0]
    assert list(works.contenders("sqlite", drain, 10, None, with_peers=True)) == [works.LIMIT, works.NO_LEDGER, works.US]


def test_who_fails_is_left_out_of_the_rounds_that_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(name: str, value: float | None) -> float | None:
        asked.append(name)
        return value

    fakes = {"well": lambda: answer("well", 2.0), "ill": lambda: answer("ill", None)}
    monkeypatch.setattr(works, "contenders", lambda *args, **options: dict(fakes))
    found = works.measured("sqlite", works.WORKS[0], None, quick=True, rounds=3, with_peers=True)
    assert found == {"well": [2.0, 2.0, 2.0]}
    assert asked == ["well", "ill", "well", "well"]


def test_a_driver_that_cannot_run_is_told_and_gives_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    huey = next(peer for peer in peers.PEERS if peer.name == "huey")
    monkeypatch.setattr(peers, "HOME", tmp_path)
    python = huey.home / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho 'no such work' >&2\nexit 3\n")
    python.chmod(0o755)
    assert peers.measure(huey, "drain", "sqlite:///x", 1) is None
    assert "huey drain: ended with 3: no such work" in capsys.readouterr().err


def test_slow_peers_get_fewer_jobs() -> None:
    slow = replace(peers.PEERS[0], count=10, latency_count=3)
    assert (slow.jobs("drain", 1_000), slow.jobs("start_latency", 1_000), slow.jobs("drain", 5)) == (10, 3, 5)

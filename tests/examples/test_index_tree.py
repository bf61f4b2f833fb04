"""The demo on small real trees, as a person runs it; and its parts on files that are odd.

Here: what ``examples/index_tree`` promises. Not here: what the library promises (``tests/conformance``, ``tests/crash``).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from examples.index_tree.facts import UNREADABLE, VANISHED, FileFacts, differences, digest, indexed, look, plain_walk
from examples.index_tree.tasks import index_file
from examples.index_tree.tree import Tree, as_name, as_path, list_files

ROOT = Path(__file__).resolve().parents[2]
NOT_UTF8 = os.fsdecode(b"caf\xe9.py")


def demo(home: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the demo in a process of its own."""
    command = [sys.executable, "-m", "examples.index_tree", "--home", str(home / ".demo"), *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A real package with files beside it that a careless program trips over."""
    root = tmp_path / "tree"
    shutil.copytree(Path(json.__file__).parent, root / "json", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "broken.py").write_text("def (:\n")
    (root / "zeros.py").write_bytes(b"x = '\x00'\n")
    (root / "empty").write_bytes(b"")
    (root / "no end of line").write_bytes(b"one\ntwo")
    (root / "hex:6869").write_text("looks as if it were in hexadecimal\n")
    (root / "ünï\ncode").write_text("a name of two lines\n")
    (root / "to nowhere").symlink_to("nowhere")
    (root / "round in circles").symlink_to(root, target_is_directory=True)
    os.mkfifo(root / "pipe")
    try:
        (root / NOT_UTF8).write_text("print('café')\n", encoding="latin-1")
    except OSError:  # a file system that takes UTF-8 only
        (root / "cafe.py").write_text("print('cafe')\n")
    return root


def row(output: str, what: str) -> str:
    """A value of the table."""
    found = re.search(rf"│ {what} +│ (.+?) +│", output)
    assert found, output
    return found.group(1)


def agreed(ended: subprocess.CompletedProcess[str]) -> bool:
    return ended.returncode == 0 and "equal to the plain walk" in ended.stdout


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_killed_worker_costs_attempts_and_nothing_else(
    kind: str, tree: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    db = "sqlite" if kind == "sqlite" else request.getfixturevalue("fresh_postgres")
    ended = demo(tmp_path, tree, "--db", db)
    assert agreed(ended), ended.stdout + ended.stderr
    files, runs = len(list_files(Tree(root=tree)).names), int(row(ended.stdout, "runs"))
    assert runs == files + 1
    interruptions = int(row(ended.stdout, "interruptions survived"))
    assert interruptions >= 1
    assert int(row(ended.stdout, "attempts")) == runs + interruptions
    assert row(ended.stdout, "failure budget spent") == "0"


def test_without_a_kill_every_run_has_one_attempt(tree: Path, tmp_path: Path) -> None:
    ended = demo(tmp_path, tree, "--no-kill", "--workers", "1")
    assert agreed(ended), ended.stdout + ended.stderr
    assert row(ended.stdout, "attempts") == row(ended.stdout, "runs")
    assert row(ended.stdout, "killed with -9") == "nobody"


def test_an_empty_tree_is_summed_up_too(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    ended = demo(tmp_path, tmp_path / "tree")
    assert agreed(ended), ended.stdout + ended.stderr
    assert row(ended.stdout, "runs") == "1"


def test_a_second_demo_begins_anew_and_touches_no_folder_it_did_not_make(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    assert agreed(demo(tmp_path, tmp_path / "tree"))
    assert agreed(demo(tmp_path, tmp_path / "tree"))
    mine = tmp_path / "mine" / ".demo"
    mine.mkdir(parents=True)
    (mine / "diary").write_text("do not delete")
    refused = demo(tmp_path / "mine", tmp_path / "tree")
    assert refused.returncode == 2
    assert "was not made by this demo" in refused.stderr
    assert (mine / "diary").read_text() == "do not delete"


def test_a_folder_that_is_not_there_is_bad_usage(tmp_path: Path) -> None:
    refused = demo(tmp_path, tmp_path / "nowhere")
    assert refused.returncode == 2
    assert "is no folder" in refused.stderr


# -- its parts --------------------------------------------------------------------------------------------------------


def test_a_tree_is_its_regular_files_and_links_are_not_followed(tree: Path) -> None:
    listing = list_files(Tree(root=tree))
    assert listing.left_out == 3
    assert {as_path(name) for name in listing.names} >= {"broken.py", "hex:6869", "ünï\ncode", "json/decoder.py"}
    assert not [name for name in listing.names if "circles" in name or "nowhere" in name or name == "pipe"]


@pytest.mark.parametrize("path", ["a/b.py", "ünï", "hex:6869", NOT_UTF8, "two\nlines"])
def test_every_name_comes_back_as_it_went_and_is_text(path: str) -> None:
    name = as_name(path)
    assert as_path(name) == path
    assert json.loads(json.dumps(name).encode()) == name
    assert name.encode()


def test_what_runs_find_is_what_the_plain_walk_finds(tree: Path) -> None:
    runs = indexed(index_file(str(tree), name) for name in list_files(Tree(root=tree)).names)
    assert differences(runs, plain_walk(Tree(root=tree))) == []
    assert digest(runs) == digest(plain_walk(Tree(root=tree)))


def test_a_changed_byte_a_missing_file_and_one_too_many_are_found(tree: Path) -> None:
    before = plain_walk(Tree(root=tree))
    (tree / "broken.py").write_text("def [:\n")
    (tree / "empty").unlink()
    (tree / "new").write_text("new")
    after = plain_walk(Tree(root=tree))
    assert [line.partition(":")[0] for line in differences(before, after)] == ["broken.py", "empty", "new"]
    assert digest(before) != digest(after)


def test_a_file_that_is_gone_or_cannot_be_read_is_a_fact_and_no_failure(tree: Path) -> None:
    assert index_file(str(tree), "gone.py") == FileFacts(name="gone.py", problem=VANISHED)
    folder = look("json", str(tree / "json"))
    assert folder.sha256 is None
    assert (folder.problem or "").startswith(UNREADABLE)


@pytest.mark.parametrize(
    ("data", "lines"), [(b"", 0), (b"\n", 1), (b"a", 1), (b"a\n", 1), (b"a\nb", 2), (b"\n\n", 2), (b"a\r\nb\r\n", 2)]
)
def test_both_walks_count_lines_alike(data: bytes, lines: int, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(data)
    assert look("file", str(tmp_path / "file")).lines == lines
    assert [fact.lines for fact in plain_walk(Tree(root=tmp_path))] == [lines]

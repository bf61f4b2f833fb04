"""``mainspring alert`` and ``mainspring webhook``: what is wrong, and who is told."""

from __future__ import annotations

from tests.cli.shell import Shell


def test_a_webhook_is_put_listed_and_deleted_and_alerts_are_listed(on_sqlite: Shell) -> None:
    on_sqlite.drain()
    put = on_sqlite.run("webhook", "put", "ops", "http://93.184.216.34/hooks", "--kind", "failed")
    assert (put.code, put.out.strip()) == (0, "told of 1 kinds: ops"), put
    (seen,) = on_sqlite.json("webhook", "list")["data"]
    assert (seen["name"], seen["kinds"]) == ("ops", ["failed"])
    assert "93.184.216.34" in on_sqlite.run("webhook", "list").out
    assert on_sqlite.json("alert", "list", "--open")["data"] == []
    assert on_sqlite.run("alert", "list").code == 0
    assert on_sqlite.run("webhook", "put", "ops", "http://93.184.216.34/", "--kind", "tired").code == 2
    assert on_sqlite.run("webhook", "delete", "ops").out.strip() == "deleted: ops"
    assert on_sqlite.run("webhook", "delete", "ops").out.strip() == "there is none: ops"

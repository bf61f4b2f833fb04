"""Crontabs as schedule files: what people have in theirs, and what each line becomes."""

from __future__ import annotations

from typing import Any

import pytest

from mainspring.importing.crontab import read_crontab
from mainspring.importing.imported import Imported

#: As Debian ships it.
SYSTEM = """\
# /etc/crontab: system-wide crontab
SHELL=/bin/sh
PATH=/usr/local/sbin:/usr/local/bin:/sbin:/bin:/usr/sbin:/usr/bin

# m h dom mon dow user  command
17 *\t* * *\troot    cd / && run-parts --report /etc/cron.hourly
25 6\t* * *\troot\ttest -x /usr/sbin/anacron || ( cd / && run-parts --report /etc/cron.daily )
*/10 * * * * www-data /usr/bin/php /srv/app/cron.php --quiet
@daily backup /usr/local/bin/backup.sh
@reboot root /usr/local/bin/warm-up
"""

USER = """\
MAILTO="ops@example.com"
HOME = /srv/app
LANG='C.UTF-8'
30 2 * * 1-5 /srv/app/bin/report --date "$(date +\\%F)"
CRON_TZ=America/New_York
0 9 1,15 * * /usr/bin/mail -s 'pay day' ana@example.com%Hello Ana,%%it is time.
5 4 * * SUN docker ps --format '{{.Names}}'
-*/5 * * * * /srv/app/bin/poll
61 * * * * /bin/true
0 0 * * *
"""


def read(text: str, **options: Any) -> list[Imported]:
    return read_crontab(text, **{"timezone": "Europe/Berlin"} | options)


def entry(text: str, **options: Any) -> Any:
    (made,) = read(text, **options)
    assert made.entry is not None, made
    return made.entry


def test_a_system_crontab_as_it_is_shipped() -> None:
    hourly, daily, php, backup, reboot = read(SYSTEM, is_system=True)
    assert hourly.entry is not None
    assert hourly.entry["rule"] == {"cron": "17 * * * *", "timezone": "Europe/Berlin"}
    assert hourly.entry["target"]["shell"]["argv"] == ["/bin/sh", "-c", "cd / && run-parts --report /etc/cron.hourly"]
    assert hourly.entry["target"]["shell"]["env"]["PATH"].startswith("/usr/local/sbin:")
    assert any("as root" in note for note in hourly.notes)
    assert "user" not in hourly.entry["target"]["shell"]
    assert daily.entry is not None
    assert php.entry is not None
    assert php.entry["target"]["shell"]["argv"] == ["/usr/bin/php", "/srv/app/cron.php", "--quiet"]
    assert php.entry["target"]["shell"]["user"] == "www-data"
    assert not any("shell" in note for note in php.notes)
    assert backup.entry is not None
    assert (backup.entry["name"], backup.entry["rule"]["cron"]) == ("cron/backup", "@daily")
    assert (reboot.entry, reboot.place) == (None, "line 10")
    assert "boot" in (reboot.refused or "")


def test_a_user_crontab_with_variables_input_and_zones() -> None:
    report, mail, docker, poll, wrong, empty = read(USER)
    assert report.entry is not None
    told = report.entry["target"]["shell"]
    assert told["argv"] == ["/bin/sh", "-c", '/srv/app/bin/report --date "$(date +%F)"']
    assert (told["cwd"], told["env"]) == ("/srv/app", {"HOME": "/srv/app", "LANG": "C.UTF-8"})
    assert report.entry["rule"]["timezone"] == "Europe/Berlin", "CRON_TZ is for what follows it"
    assert any("ops@example.com" in note for note in report.notes)
    assert mail.entry is not None
    assert mail.entry["rule"]["timezone"] == "America/New_York"
    assert mail.entry["target"]["shell"]["argv"][-1] == "Hello Ana,\n\nit is time."
    assert "{{" in (docker.refused or "")
    assert poll.entry is not None
    assert poll.entry["target"]["shell"]["argv"] == ["/srv/app/bin/poll"]
    assert (wrong.entry, empty.entry) == (None, None)
    assert "61" in (wrong.refused or "")


def test_it_does_what_cron_does_until_somebody_wants_more() -> None:
    made = entry("0 3 * * * /bin/true")
    assert (made["overlap"], made["misfire"], made["retry"], made["timeout"]) == ("allow", "skip", {"max_attempts": 1}, None)


def test_input_reaches_the_command_as_cron_gives_it() -> None:
    import subprocess

    argv = entry("0 3 * * * cat; exit 3%a 'b' $c%\\%d")["target"]["shell"]["argv"]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (3, "a 'b' $c\n%d\n")


@pytest.mark.parametrize(
    "command", ["backup", "/bin/a | /bin/b", "/bin/a > /dev/null", "X=1 /bin/a", "/bin/a ~/b", "/bin/a *", "/bin/../a"]
)
def test_what_needs_a_shell_gets_one_and_is_flagged(command: str) -> None:
    (made,) = read(f"0 3 * * * {command}")
    assert made.entry is not None
    assert made.entry["target"]["shell"]["argv"] == ["/bin/sh", "-c", command]
    assert any("/bin/sh runs it" in note for note in made.notes)


def test_quoted_words_need_none() -> None:
    assert entry("0 3 * * * /bin/a 'b c' \"d\"")["target"]["shell"]["argv"] == ["/bin/a", "b c", "d"]


def test_without_a_zone_nothing_is_guessed() -> None:
    (made,) = read("0 3 * * * /bin/true", timezone=None)
    assert "zone" in (made.refused or "")
    assert entry("CRON_TZ=Asia/Tokyo\n0 3 * * * /bin/true", timezone=None)["rule"]["timezone"] == "Asia/Tokyo"
    (made,) = read("TZ=Asia/Tokyo\n0 3 * * * /bin/true")
    assert made.entry is not None
    assert made.entry["rule"]["timezone"] == "Europe/Berlin"
    assert made.entry["target"]["shell"]["env"] == {"TZ": "Asia/Tokyo"}
    assert any("TZ is the program's only" in note for note in made.notes)


def test_names_are_those_of_programs_and_each_is_given_once() -> None:
    found = read("0 1 * * * /a/b.sh\n0 2 * * * /c/b.sh\n0 3 * * * cd /x && ./run me\n0 4 * * * A=1 (umask 7)")
    assert [each.entry["name"] for each in found if each.entry] == ["cron/b", "cron/b-2", "cron/run", "cron/umask"]

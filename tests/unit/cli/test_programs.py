"""supervisord's configuration, read back as supervisord reads it."""

from __future__ import annotations

from configparser import ConfigParser
from pathlib import Path

import pytest

from cli.supervision.programs import Paths, Program, render

PATHS = Paths(Path("/s/run/supervisor.sock"), Path("/s/run/supervisor.pid"), Path("/s/logs"), Path("/code"))


def parsed(*programs: Program) -> ConfigParser:
    parser = ConfigParser(interpolation=None)
    parser.read_string(render(programs, PATHS))
    return parser


def test_programs_start_in_their_order() -> None:
    read = parsed(Program("broker", ("b",)), Program("database", ("d",)), Program("api", ("a",)))
    ranks = {name: int(read[f"program:{name}"]["priority"]) for name in ("broker", "database", "api")}
    assert ranks["broker"] < ranks["database"] < ranks["api"]


def test_nothing_starts_by_itself_and_everything_comes_back() -> None:
    read = parsed(Program("api", ("a",)))["program:api"]
    assert read["autostart"] == "false"
    assert read["autorestart"] == "true"


def test_only_the_owner_reaches_the_supervisor() -> None:
    assert parsed()["unix_http_server"]["chmod"] == "0600"
    assert parsed()["supervisord"]["umask"] == "077"


def test_logs_are_bounded() -> None:
    read = parsed(Program("api", ("a",)))["program:api"]
    assert read["stdout_logfile"] == "/s/logs/api.log"
    assert int(read["stdout_logfile_maxbytes"]) * (1 + int(read["stdout_logfile_backups"])) == 20 * 2**20
    own = parsed()["supervisord"]
    assert int(own["logfile_maxbytes"]) * (1 + int(own["logfile_backups"])) == 20 * 2**20


def test_blanks_quotes_and_percent_signs_reach_the_process_as_they_are() -> None:
    read = parsed(Program("api", ("run", "a b", "100%"), environment={"X": 'say "50%"'}))["program:api"]
    assert read["command"] == "run 'a b' 100%%"
    assert read["environment"] == 'X="say \\"50%%\\""'


@pytest.mark.parametrize("text", ["a\nb", "a ;b"])
def test_what_supervisord_would_misread_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="can't be configured"):
        render([Program("api", ("a",), environment={"X": text})], PATHS)

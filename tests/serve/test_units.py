"""Each process has a unit for systemd and a line in the handbook."""

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app.config import SETTINGS
from app.serve.processes import PROCESSES
from tests.serve.running import ROOT

UNITS = ROOT / "deploy" / "systemd"
NAMES = [process.name for process in PROCESSES]


class Unit(configparser.ConfigParser):
    """A unit's settings; one given twice has both values."""

    def __init__(self, file):
        super().__init__(strict=False, interpolation=None, dict_type=Doubled)
        self.optionxform = str
        self.read(file)


class Doubled(dict):
    def __setitem__(self, key, value):
        if isinstance(value, list) and isinstance(self.get(key), list):
            value = [*self[key], *value]
        super().__setitem__(key, value)


@pytest.mark.parametrize("name", NAMES)
def test_each_process_has_a_unit_that_the_target_starts(name):
    unit = Unit(UNITS / f"freehold-{name}.service")
    assert unit["Service"]["ExecStart"] == f"/opt/freehold/.venv/bin/freehold run {name}"
    assert unit["Unit"]["PartOf"] == "freehold.target"
    assert f"freehold-{name}.service" in Unit(UNITS / "freehold.target")["Unit"]["Wants"].split()


@pytest.mark.parametrize("name", NAMES)
def test_each_unit_comes_back_however_often_it_ends_and_is_gone_in_ten_seconds(name):
    unit = Unit(UNITS / f"freehold-{name}.service")
    assert (unit["Service"]["Restart"], unit["Unit"]["StartLimitIntervalSec"]) == ("always", "0")
    assert unit["Service"]["TimeoutStopSec"] == "10"
    assert unit["Service"]["NoNewPrivileges"] == "yes"


def test_the_front_starts_after_those_it_asks():
    after = Unit(UNITS / "freehold-front.service")["Unit"]["After"].split()
    assert {"freehold-ask.service", "freehold-web.service", "freehold-live.service"} <= set(after)


def test_live_may_open_a_file_for_each_connection_and_the_front_two():
    connections = int(next(setting.default for setting in SETTINGS if setting.field == "live_connections"))
    assert int(Unit(UNITS / "freehold-live.service")["Service"]["LimitNOFILE"]) > connections + 3 * 256 + 1024
    assert int(Unit(UNITS / "freehold-front.service")["Service"]["LimitNOFILE"]) > 2 * connections


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd here")
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path):
    for file in UNITS.iterdir():
        command = Path(sys.executable).with_name("freehold")
        text = file.read_text().replace("/opt/freehold/.venv/bin/freehold", str(command))
        (tmp_path / file.name).write_text(text.replace("/opt/freehold", str(ROOT)))
    units = [str(file) for file in tmp_path.iterdir()]
    told = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True)
    assert [line for line in told.stderr.splitlines() if "freehold" in line] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_handbook_says_what_each_process_is_and_what_happens_without_it(name):
    rows = [line for line in (ROOT / "docs/operate/processes.md").read_text().splitlines() if line.startswith("|")]
    assert len([row for row in rows if row.startswith(f"| {name} |")]) == 2

# SPDX-License-Identifier: Apache-2.0
"""`make trial`, shortened: a drive for the map, one with the faults, and the report in a browser.

The robot drives round the walks that come with the tests; nothing is rendered.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='rclpy cannot be imported')

from browser_helpers import complaints, fetched, opened, pictures, visible_text, widths
from ros_helpers import Process

from tools.trial import plan

pytest_plugins = ['browser_fixtures', 'ros_fixtures']
pytestmark = pytest.mark.ros
MAPS = ('map', 'other_map')
LONGEST_S = 420.0  # of a drive of 30 s and one of 55 s, checked, mapped and reported; alone 130 s
PLAN = """
version: 1
trials:
  - {name: day, condition: day, seconds: 30}
  - name: dusk
    condition: dusk
    seconds: 56
    faults:
      - {at: 8, fault: camera unplugged, seconds: 3}
      - {at: 16, fault: gnss jump, seconds: 2}
      - {at: 23, fault: recorder killed}
      - {at: 32, fault: disk full, seconds: 4}
      - {at: 41, fault: clock jump, seconds: 2}
      - {at: 49, fault: map swapped}
    marks:
      - {at: 5, kind: start, text: at the fountain}
"""


@pytest.fixture(scope='module')
def made(ros, tmp_path_factory: pytest.TempPathFactory) -> tuple[Process, Path]:
    """The process, which has ended, and its folder."""
    folder = tmp_path_factory.mktemp('trial')
    (folder / 'plan.yaml').write_text(PLAN)
    arguments = ['-o', folder / 'out', '--plan', folder / 'plan.yaml']
    process = Process(folder / 'run', 'tools.trial', *arguments)
    try:
        process.process.wait(LONGEST_S)
    finally:
        process.kill()
    return process, folder / 'out'


def test_every_fault_is_named_at_its_minute(made: tuple[Process, Path]):
    process, out = made
    assert process.process.returncode == 0, process.stdout + process.stderr
    faults = plan.read_plan(out.parent / 'plan.yaml')[1].faults
    for fault in faults:
        found = re.search(
            rf'{fault.fault} at minute ([\d.]+): named at ([\d.]+), since', process.stdout
        )
        assert found, f'{fault.fault}: {process.stdout}'
        made_at, named_at = map(float, found.groups())
        assert abs(made_at - fault.at / 60) < 0.05 and abs(named_at - made_at) <= 0.1
    assert 'Traceback' not in process.stderr


def test_the_trials_are_whole_and_the_map_is_back(made: tuple[Process, Path]):
    out = made[1]
    day, dusk = sorted((out / 'trials').iterdir())
    assert day.name.endswith('_day') and dusk.name.endswith('_dusk')
    for trial in (day, dusk):
        assert (trial / 'report.html').is_file() and (trial / 'bag').is_dir()
    assert (dusk / 'bag_2').is_dir() and not (day / 'bag_2').exists()  # the recorder was killed
    rows = [len((out / name / 'places.csv').read_text().splitlines()) for name in MAPS]
    assert rows[0] > 3 * rows[1]


@pytest.mark.parametrize('width', [1400, 400])
def test_the_overview_in_a_browser(made: tuple[Process, Path], browser, width: int):
    page = made[1] / 'overview.html'
    opened(browser, page, width)
    assert not complaints(browser) and fetched(browser) == [page.as_uri()]
    assert widths(browser) == [width, width]
    images = pictures(browser)
    assert images and all(done and own > 0 and words for done, own, words, _ in images)
    text = visible_text(browser)
    for words in ('dusk', 'camera stopped', 'gnss jump', 'clock jump', 'map swapped'):
        assert words in text


@pytest.mark.parametrize('name', ['overview.html', 'map/notes.txt'])
def test_a_file_of_the_users_is_kept_and_nothing_is_begun(tmp_path: Path, name: str):
    mine = tmp_path / 'out' / name
    mine.parent.mkdir(parents=True)
    mine.write_text('mine')
    process = Process(tmp_path / 'run', 'tools.trial', '-o', tmp_path / 'out')
    try:
        assert process.wait() == 1 and process.stdout == ''
    finally:
        process.kill()
    (line,) = process.stderr.splitlines()
    assert line.startswith('error: ') and name.partition('/')[0] in line
    assert [p for p in (tmp_path / 'out').rglob('*') if p.is_file()] == [mine]

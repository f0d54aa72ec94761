# SPDX-License-Identifier: Apache-2.0
"""Reports of trials in a real browser: whole, quiet, legible, at 1400 and at 400 pixels."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser_helpers import (
    complaints,
    fetched,
    headings,
    opened,
    pictures,
    visible_text,
    widths,
)
from trial_maker import TrialMaker

from ashtkd_ros.trials.overview import overview_of
from ashtkd_ros.trials.overview_page import write_overview
from ashtkd_ros.trials.report_files import report_values, write_report_files
from ashtkd_ros.trials.trial_page import trial_page
from ashtkd_ros.trials.trial_report import ReportOptions, make_report
from ashtkd_ros.trials.vocabulary import DISK_FULL, LANDMARK, NOTE

pytest_plugins = ['browser_fixtures', 'trial_fixtures']
WIDTHS = (1400, 400)
# Ink and ground of all text that is shown, and how large it is.
_TEXTS = """
const found = [];
for (const e of document.querySelectorAll('p, td, th, dd, dt, h1, h2, h3, figcaption, span')) {
  if (!e.innerText.trim()) continue;
  let ground = e;
  while (ground && getComputedStyle(ground).backgroundColor === 'rgba(0, 0, 0, 0)')
    ground = ground.parentElement;
  const style = getComputedStyle(e);
  found.push([style.color, ground ? getComputedStyle(ground).backgroundColor : 'rgb(255,255,255)',
              parseFloat(style.fontSize), e.getBoundingClientRect().width]);
}
return found;
"""
_WIDE = """
return [...document.querySelectorAll('.wide')].map(
    e => [e.getBoundingClientRect().right, e.scrollWidth, e.clientWidth]);
"""


@pytest.fixture(scope='module')
def pages(maker: TrialMaker, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report with everything in it, one with nothing, and an overview of both."""
    root = tmp_path_factory.mktemp('browser') / 'trials'
    how = {'dark': (8, 14), 'unplugged': (18, 22), 'mirrored': (26, 32), 'vague': (34, 38)}
    events = [(24.0, DISK_FULL, 'the disk is full: NOTHING MORE IS RECORDED ' + 'x' * 300)]
    marks = [(12.0, LANDMARK, 'fountain'), (30.0, NOTE, 'a bus ' * 40)]
    full = maker.make(root, 'full', 'night', events=events, marks=marks, **how)
    poor = maker.make(root, 'p' * 80, live=False, configured=False, silent=(-1, 100))
    reports = [make_report(trial, ReportOptions()) for trial in (full, poor)]
    for report in reports:
        write_report_files(report, trial_page(report))
    overview = root.parent / 'overview.html'
    write_overview(overview, overview_of([report_values(report) for report in reports]))
    files = {'full': full.path / 'report.html', 'poor': poor.path / 'report.html'}
    return {**files, 'overview': overview}


NAMES = pytest.mark.parametrize('name', ['full', 'poor', 'overview'])


@NAMES
def test_a_page_is_whole_and_fetches_nothing(browser, pages: dict, name: str):
    opened(browser, pages[name], 1400)
    assert not complaints(browser)
    assert fetched(browser) == [pages[name].as_uri()]
    images = pictures(browser)
    assert images and all(ok and natural > 0 and alt for ok, natural, alt, _ in images)
    assert all(width > 50 for *_, width in images)


@pytest.mark.parametrize('width', WIDTHS)
@NAMES
def test_tables_scroll_in_their_own_box(browser, pages: dict, name: str, width: int):
    opened(browser, pages[name], width)
    assert widths(browser) == [width, width]
    boxes = browser.execute_script(_WIDE)
    assert boxes and all(right <= width for right, _, _ in boxes)
    assert name != 'full' or width > 400 or any(inner > shown for _, inner, shown in boxes)


@pytest.mark.parametrize('width', WIDTHS)
@NAMES
def test_text_is_dark_on_light_and_not_small(browser, pages: dict, name: str, width: int):
    opened(browser, pages[name], width)
    texts = browser.execute_script(_TEXTS)
    assert len(texts) > 20
    for ink, ground, size, room in texts:
        assert light(ground) - light(ink) > 120, (ink, ground)
        assert size >= 12 and room >= 20


def light(colour: str) -> float:
    """Mean of red, green and blue."""
    parts = colour.partition('(')[2].strip(')').split(',')
    return sum(float(part) for part in parts[:3]) / 3


def test_the_report_names_each_fault_at_its_minute(browser, pages: dict):
    opened(browser, pages['full'], 1400)
    assert headings(browser)[1:4] == ['What went wrong', 'Where it failed, and why', 'Pictures']
    text = visible_text(browser)
    rows = browser.execute_script(
        'return [...document.querySelectorAll("table.events tr")].map(r => r.innerText)'
    )
    for minute, kind in (('0:24', 'disk full'), ('0:20', 'camera stopped')):
        assert any(minute in row and kind in row for row in rows), rows
    for minute, why in (('0:08', 'dark'), ('0:34', 'GNSS too inexact')):
        assert any(row.startswith(minute) and why in row for row in rows), rows
    assert any('new look' in row for row in rows)
    assert 'fountain' in text and 'the right place' in text and 'found in the recording' in text


def test_the_overview_names_trials_conditions_and_faults(browser, pages: dict):
    opened(browser, pages['overview'], 1400)
    text = visible_text(browser)
    assert headings(browser)[0] == '2 trials' and 'night' in text
    assert 'disk full' in text and '0:24' in text and 'Nothing tells what was right' in text

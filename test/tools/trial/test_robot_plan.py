# SPDX-License-Identifier: Apache-2.0
"""The plan of the simulated trials: whole as it is shipped, and named where it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from ashtkd_ros.errors import VprError
from tools.trial import plan
from tools.trial.verdict import TOLERANCE

GOOD = 'version: 1\ntrials:\n  - {name: day, condition: day, seconds: 9'


def read(folder: Path, text: str) -> list[plan.PlannedTrial]:
    (folder / 'plan.yaml').write_text(text)
    return plan.read_plan(folder / 'plan.yaml')


def test_the_shipped_plan_has_every_fault_and_tells_them_apart():
    trials = plan.read_plan()
    assert [t.condition for t in trials] == ['day', 'dusk', 'night', 'rain']
    assert not trials[0].faults  # a map is made of it
    assert {f.fault for t in trials for f in t.faults} == set(plan.FAULTS)
    for trial in trials:
        times = sorted(f.at for f in trial.faults)
        assert all(b - a > 60 * TOLERANCE for a, b in zip(times, times[1:], strict=False))
        assert all(f.at + f.seconds < trial.seconds - 5 for f in trial.faults)


@pytest.mark.parametrize(
    'text, words',
    [
        ('trials: []', 'version'),
        ('version: 1\ntrials: []', 'no trials'),
        (f'{GOOD}, weather: x}}', '"weather" is not one of'),
        (f'{GOOD}, faults: [{{at: 1, fault: rust}}]}}', '"fault" is not one of camera unplugged'),
        (f'{GOOD}, faults: [{{at: 10, fault: disk full}}]}}', '"at" is not a number'),
        (f'{GOOD}, faults: [{{at: .nan, fault: disk full}}]}}', '"at" is not a number'),
        (f'{GOOD}, marks: [{{at: 1, kind: hello}}]}}', '"kind" is not one of start'),
        (f'{GOOD}, faults: 3}}', '"faults" is not a list'),
        ('version: 1\ntrials: [{name: ../x, condition: day, seconds: 1}]', 'no name'),
        ('version: 1\ntrials: [{name: x, condition: snow, seconds: 1}]', '"condition"'),
        ('version: 1\ntrials: [3]', '"name" is not a text'),
        ('a: [', 'not YAML'),
    ],
)
def test_a_wrong_plan_is_one_line_that_says_why(tmp_path: Path, text: str, words: str):
    with pytest.raises(VprError, match=words) as raised:
        read(tmp_path, text)
    assert '\n' not in str(raised.value)

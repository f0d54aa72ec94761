# SPDX-License-Identifier: Apache-2.0
"""A report is written whole or not at all, and its places are looked at before the work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import line_of
from small_evaluation import evaluation_of, judged_queries
from test_report import gone

from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.report import check_report, write_report
from ashtkd_ros.evaluation.timing import Timing
from ashtkd_ros.maps.place_map import Place


@pytest.mark.parametrize('fails', ['picture', 'page'])
def test_a_report_that_fails_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
):
    timing = {'embed': Timing.of([0.007])}
    write_report(tmp_path / 'r.html', evaluation_of(judged_queries([True]), timing=timing), gone)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, 'No space left on device')

    def stop(_: Place) -> np.ndarray:
        raise KeyboardInterrupt

    if fails == 'page':
        real = Path.write_bytes
        monkeypatch.setattr(
            Path, 'write_bytes', lambda p, data: full() if p.suffix == '.html' else real(p, data)
        )
    with pytest.raises((VprError, KeyboardInterrupt)) as error:
        picture_of = stop if fails == 'picture' else gone
        write_report(tmp_path / 'r.html', evaluation_of(judged_queries([False])), picture_of)
    assert fails == 'picture' or 'the report cannot be written (No space left' in line_of(error)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize('name', ['r.json', 'r.timing.json'])
def test_the_places_beside_a_report_are_checked_before_it_is_made(tmp_path: Path, name: str):
    (tmp_path / name).mkdir()
    with pytest.raises(VprError) as error:
        check_report(tmp_path / 'r.html')
    assert f'{name}: cannot be written (it is a folder)' in line_of(error)
    (tmp_path / name).rmdir()
    (tmp_path / name).symlink_to(tmp_path / 'r.html')
    with pytest.raises(VprError) as error:
        check_report(tmp_path / 'r.html')
    assert f'{name}: is a link to another file of the report' in line_of(error)
    long = tmp_path / ('a' * 245 + '.html')  # of 250 characters; .timing.json makes it 257
    with pytest.raises(VprError) as error:
        check_report(long)
    assert '.timing.json: cannot be written (File name too long)' in line_of(error)

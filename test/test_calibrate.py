# SPDX-License-Identifier: Apache-2.0
"""Calibration of the confidence: coefficients found again, error measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import line_of

from ashtkd_ros.embedder import Embedder
from ashtkd_ros.errors import VprError
from tools import calibrate


def test_calibration_needs_a_set_and_finds_the_coefficients_it_was_made_with(
    tmp_path: Path, student: Path
):
    with pytest.raises(VprError) as error:
        calibrate.collect(Embedder(student, num_threads=1), tmp_path)
    assert 'to calibrate on' in line_of(error)
    rng = np.random.default_rng(0)
    similarity, margin = rng.uniform(0, 1, 20_000), rng.uniform(-0.2, 0.6, 20_000)
    truth = 1 / (1 + np.exp(-(6 * similarity + 9 * margin - 4)))
    samples = calibrate.Samples(similarity, margin, rng.random(20_000) < truth)
    found = calibrate.fit(samples)
    expected = {'similarity': 6.0, 'margin': 9.0, 'offset': -4.0}
    assert found == pytest.approx(expected, rel=0.1)
    assert calibrate.expected_calibration_error(truth, samples.right) < 0.02
    assert calibrate.expected_calibration_error(1 - truth, samples.right) > 0.3

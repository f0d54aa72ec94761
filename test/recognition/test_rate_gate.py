# SPDX-License-Identifier: Apache-2.0
"""The gate on the rate of images, by their stamps."""

from __future__ import annotations

import pytest

from ashtkd_ros.recognition.rate_gate import RateGate


@pytest.mark.parametrize(
    ('stamps', 'hz', 'used'),
    [
        ([1.0, 1.1, 1.2], 0.0, [1.0, 1.1, 1.2]),
        ([1.0, 1.4, 1.9, 2.0, 2.1, 3.0], 1.0, [1.0, 2.0, 3.0]),
        ([1.0, 1.995, 2.99], 1.0, [1.0, 1.995, 2.99]),
        ([5.0, 5.5, 1.0, 1.5, 2.0], 1.0, [5.0, 1.0, 2.0]),
        ([5.0, 4.7, 5.2, 4.9, 5.4, 5.1, 6.0], 1.0, [5.0, 6.0]),  # two cameras
        ([0.01, 0.5, 1.01], 1.0, [0.01, 1.01]),
    ],
)
def test_what_is_let_through(stamps: list[float], hz: float, used: list[float]):
    gate = RateGate()
    assert [s for s in stamps if gate.admits(s, hz)] == used


def test_stamps_of_zero_are_taken_for_now():
    gate = RateGate()
    assert [gate.admits(0.0, 1.0) for _ in range(3)] == [True, False, False]

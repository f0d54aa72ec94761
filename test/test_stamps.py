# SPDX-License-Identifier: Apache-2.0
"""Stamps in seconds, in nanoseconds and in messages are the same moments."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from ashtkd_ros.stamps import ns_to_s, s_to_ns, split_ns, stamp_to_ns, stamp_to_s


@pytest.mark.parametrize('ns', [0, 1, 999_999_999, 10**9, 1_700_000_000_123_456_789])
def test_a_message_keeps_every_nanosecond(ns: int) -> None:
    sec, nanosec = split_ns(ns)
    stamp = SimpleNamespace(sec=sec, nanosec=nanosec)
    assert 0 <= nanosec < 10**9 and stamp_to_ns(stamp) == ns
    assert stamp_to_s(stamp) == pytest.approx(ns_to_s(ns), abs=1e-6)


def test_seconds_become_the_nearest_nanosecond() -> None:
    assert s_to_ns(1.5) == 1_500_000_000 and s_to_ns(-0.25) == -250_000_000
    assert s_to_ns(1.9999999999) == s_to_ns(np.nextafter(2.0, 0.0)) == 2_000_000_000
    assert s_to_ns(1.9999999994) == 1_999_999_999 and s_to_ns(-1e-10) == 0
    rng = np.random.default_rng(1)
    for seconds in rng.uniform(0, 2e9, 1000).tolist():
        assert ns_to_s(s_to_ns(seconds)) == pytest.approx(seconds, abs=5e-7)

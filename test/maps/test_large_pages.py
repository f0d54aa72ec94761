# SPDX-License-Identifier: Apache-2.0
"""What FAISS compares from end to end lies in large pages, with the same numbers as before."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest

from ashtkd_ros.maps.large_pages import hold_in_large_pages

ENABLED = Path('/sys/kernel/mm/transparent_hugepage/enabled')


def large_kib(address: int) -> int:
    """How much of the memory that holds an address is in large pages."""
    inside = False
    for line in Path('/proc/self/smaps').read_text().splitlines():
        name, *rest = line.split()
        if '-' in name and not name.endswith(':'):
            first, last = (int(end, 16) for end in name.split('-'))
            inside = first <= address < last
        elif inside and name == 'AnonHugePages:':
            return int(rest[0])
    return 0


def filled(count: int) -> faiss.IndexBinaryFlat:
    index = faiss.IndexBinaryFlat(256)
    index.add(np.random.default_rng(0).integers(0, 256, (count, 32), np.uint8))
    return index


def test_the_codes_are_moved_and_stay_as_they_are():
    if not ENABLED.exists() or '[never]' in ENABLED.read_text():
        pytest.skip('this system has no large pages')
    index = filled(300_000)
    codes = faiss.rev_swig_ptr(index.xb.data(), 300_000 * 32)
    before, address = codes.copy(), codes.ctypes.data + 2**22
    hold_in_large_pages(index)
    np.testing.assert_array_equal(codes, before)
    if not large_kib(address):
        pytest.skip('this system gives no large page at once (Linux 6.1 and later do)')
    assert large_kib(address) >= 6 * 1024


@pytest.mark.parametrize('count', [0, 1, 1000])
def test_a_small_index_and_one_that_is_read_here_and_there_stay_where_they_are(count: int):
    index = filled(count)
    hold_in_large_pages(index)
    assert index.ntotal == count
    graph = faiss.IndexHNSWFlat(8, 4)
    hold_in_large_pages(graph)
    assert graph.ntotal == 0

# SPDX-License-Identifier: Apache-2.0
"""JSON of any origin: a name that stands twice is refused, in a time that its length explains."""

from __future__ import annotations

import pytest

from ashtkd_ros.files.documents import parse_json


@pytest.mark.parametrize('count', [2, 200_000])
def test_a_name_that_stands_twice_is_refused_at_once(count: int):
    """The last of them: found by comparing each with all others, it would take minutes."""
    table = ','.join(f'"k{number}": 1' for number in range(count))
    assert len(parse_json(f'{{{table}}}')) == count
    with pytest.raises(ValueError, match=f'k{count - 1} occurs twice in one table'):
        parse_json(f'{{{table}, "k{count - 1}": 2}}')

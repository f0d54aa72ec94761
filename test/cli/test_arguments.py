# SPDX-License-Identifier: Apache-2.0
"""Numbers on a command line: what is senseless is refused there, with the usage."""

from __future__ import annotations

import argparse

import pytest
from test_commands import call

from ashtkd_ros.cli.arguments import (
    count,
    finite,
    not_negative,
    positive,
    positive_count,
    seconds,
    share,
)

REFUSED = {
    finite: ['nan', 'inf', 'x', ''],
    seconds: ['1e300', '-2147483648', '2147483648', 'nan'],
    positive: ['0', '-1', 'nan', 'inf', 'x'],
    not_negative: ['-0.1', 'nan', 'inf', 'x'],
    share: ['-0.1', '1.1', '7', 'nan', 'x'],
    count: ['-3', '1.5', 'nan', 'x'],
    positive_count: ['0', '-3', '1.5', 'nan', 'x', ''],
}
TAKEN = {
    finite: '-1.5',
    seconds: '-1.5',
    positive: '0.1',
    not_negative: '0',
    share: '1',
    count: '0',
    positive_count: '1',
}


@pytest.mark.parametrize('kind', REFUSED, ids=lambda kind: kind.__name__)
def test_numbers_are_of_their_kind(kind):
    assert kind(TAKEN[kind]) == float(TAKEN[kind])
    for text in REFUSED[kind]:
        with pytest.raises(argparse.ArgumentTypeError) as error:
            kind(text)
        assert str(error.value).startswith(f'"{text}" is not a ')


@pytest.mark.parametrize(
    ('option', 'text'),
    [
        ('threads', '-3'),
        ('metres', '-1'),
        ('metres', 'nan'),
        ('degrees', 'nan'),
        ('similarity', '7'),
        ('max-pose-gap', '-1'),
        ('max-pose-gap', 'nan'),
        ('max-blur', 'nan'),
        ('min-light', 'nan'),
    ],
)
def test_build_map_refuses_numbers_without_sense(
    option: str, text: str, capsys: pytest.CaptureFixture
):
    assert call('build_map', 'b', '-o', 'm', f'--{option}', text) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert f'argument --{option}: "{text}" is not a ' in line

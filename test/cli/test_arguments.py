# SPDX-License-Identifier: Apache-2.0
"""Numbers on a command line: what is senseless is refused there, with the usage."""

from __future__ import annotations

import argparse

import pytest
from test_commands import call

from ashtkd_ros.cli.arguments import (
    count,
    finite,
    given_options,
    not_negative,
    positive,
    positive_count,
    seconds,
    share,
)
from ashtkd_ros.cli.command import make_parser
from ashtkd_ros.cli.terminal import SafeParser

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


def a_parser() -> SafeParser:
    parser = make_parser('words')
    parser.add_argument('source', nargs='?')
    parser.add_argument('-o', '--out', default='')
    group = parser.add_argument_group('a group')
    group.add_argument('--rate', type=positive, default=1.0)
    group.add_argument('--no-timing', action='store_true')
    return parser


@pytest.mark.parametrize(
    ('words', 'given'),
    [
        ([], []),
        (['-o', ''], ['--out']),
        (['--rate=1'], ['--rate']),
        (['--ra', '2', '--no-timing'], ['--rate', '--no-timing']),
        (['walk'], ['--source']),
    ],
)
def test_options_that_are_given_are_known_even_at_their_default(words, given):
    assert given_options(a_parser(), words) == given


def test_a_parser_knows_its_arguments_those_of_groups_too():
    names = [argument.dest for argument in a_parser().arguments]
    assert names == ['help', 'source', 'out', 'rate', 'no_timing']

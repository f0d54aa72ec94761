# SPDX-License-Identifier: Apache-2.0
"""map_tools suggest: what it prints, and that it adds nothing."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from conftest import checksums
from evaluation_helpers import run
from test_suggestions import part_of, storm

from ashtkd_ros.commands.bag_tools import main as bag_tools
from ashtkd_ros.commands.build_map import main as build_map
from ashtkd_ros.commands.map_tools import main as map_tools


@pytest.fixture(scope='module')
def a_map(town: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp('town') / "day's map"
    assert run(build_map, town / 'day', '-o', out) == 0
    return out


def test_a_known_traverse_gives_nothing_to_add(a_map: Path, town: Path, capsys):
    before = checksums(a_map / 'thumbnails') | {'y': (a_map / 'map.yaml').read_bytes()}
    assert run(map_tools, 'suggest', a_map, town / 'day') == 0
    printed = capsys.readouterr()
    first, *others = printed.out.splitlines()
    found = re.fullmatch(r'(.*): 117 images, (\d+) known, 0 with a new look, \d at .*', first)
    assert found[1] == str(town / 'day') and int(found[2]) >= 114
    assert others == ['  nothing to add']
    assert 'halfway between' in printed.err
    assert before == checksums(a_map / 'thumbnails') | {'y': (a_map / 'map.yaml').read_bytes()}


def test_a_changed_one_gives_the_command_that_would_add_it(a_map, town, tmp_path, capsys):
    walk = part_of(town / 'day', tmp_path / 'a storm', slice(0, 60), storm)
    assert run(map_tools, 'suggest', a_map, walk, town / 'day') == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith('  new look: 00') and ' in the map' in lines[1]
    assert lines[-1] == '  nothing to add'
    (add,) = [line for line in lines if '--experiences' in line]
    assert 'map_tools append ' in add and f"'{walk}'" in add and '"\'"' in add


def test_the_command_adds_looks_also_where_the_drive_was_aside(a_map, town, tmp_path, capsys):
    walk = part_of(town / 'day', tmp_path / 'storm', slice(0, 60), storm)
    head, *lines = (walk / 'poses.csv').read_text().splitlines()
    for number, line in enumerate(lines):
        name, stamp, x, rest = line.split(',', 3)
        lines[number] = f'{name},{stamp},{float(x) + 1.7},{rest}'
    (walk / 'poses.csv').write_text('\n'.join([head, *lines]) + '\n')
    assert run(map_tools, 'suggest', a_map, walk) == 0
    (add,) = [x for x in capsys.readouterr().out.splitlines() if '--experiences' in x]
    command = shlex.split(add.partition('map_tools ')[2])
    assert run(map_tools, *command, '-o', tmp_path / 'grown') == 0
    printed = capsys.readouterr()
    new, looks = re.search(r'(\d+) new places? and (\d+) further looks', printed.out).groups()
    assert int(looks) > 50 and int(new) + int(looks) == 60
    assert 'another look' not in printed.err
    narrow = command[: command.index('--same-metres')]
    assert run(map_tools, *narrow, '--same-metres', '0.1', '-o', tmp_path / 'other') == 0
    assert 'none was taken within 0.1 m and 15 degrees of one' in capsys.readouterr().err


def test_the_command_takes_the_same_images(a_map, town, tmp_path, capsys):
    walk, bag = part_of(town / 'day', tmp_path / 'storm', slice(0, 60), storm), tmp_path / 'bag'
    assert run(bag_tools, 'make', walk, '-o', bag, '--jpeg') == 0
    topic = '/camera/image_raw/compressed'
    options = ('--image-topic', topic, '--pose-topic', 'none')
    assert run(map_tools, 'suggest', a_map, bag, *options) == 0
    printed = capsys.readouterr()
    (add,) = [line for line in printed.out.splitlines() if '--experiences' in line]
    assert f'--image-topic {topic} --pose-topic none --experiences' in add
    assert 'give --labels' in printed.err
    index = 'file,place,role,order\n'
    for number, line in enumerate((walk / 'poses.csv').read_text().splitlines()[1:]):
        index += f'{line.partition(",")[0]},,{"query" if number < 55 else "database"},{number}\n'
    (walk / 'index.csv').write_text(index)
    (walk / 'poses.csv').unlink()
    assert run(map_tools, 'suggest', a_map, walk, '--role', 'query') == 0
    printed = capsys.readouterr().out.splitlines()
    assert ' 55 images, ' in printed[0] and '--role query --experiences' in printed[-1]
    assert run(map_tools, 'suggest', a_map, walk) == 0
    assert ' 5 images, ' in capsys.readouterr().out, 'those that append would take'


def test_what_was_added_is_not_suggested_again(a_map, town, tmp_path, capsys):
    walk, grown = (
        part_of(town / 'day', tmp_path / 'storm', slice(0, 60), storm),
        tmp_path / 'grown',
    )
    assert run(map_tools, 'append', a_map, walk, '--experiences', '-o', grown) == 0
    capsys.readouterr()
    assert run(map_tools, 'suggest', grown, walk) == 0
    assert capsys.readouterr().out.splitlines()[-1] == '  nothing to add'


def test_a_source_that_is_none_is_one_line(a_map: Path, tmp_path: Path, capsys):
    assert run(map_tools, 'suggest', a_map, tmp_path / 'none') == 1
    assert 'none' in capsys.readouterr().err.strip().splitlines()[-1]

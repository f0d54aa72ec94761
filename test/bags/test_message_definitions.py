# SPDX-License-Identifier: Apache-2.0
"""Definitions of message types: from ROS's folders, from rosbags, from a class."""

from __future__ import annotations

from pathlib import Path

import pytest
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from ashtkd_ros.bags.message_definitions import MessageDefinitions

ODD = """\
# the type of a workspace
uint8 LIMIT=3  # a constant
Inner[<=3] inner
std_msgs/Header header
string<=5 word
sequence_of_nothing/msg/Nothing[] nothing
"""


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    for name, text in {
        'odd_msgs/msg/Odd': ODD,
        'odd_msgs/msg/Inner': 'float64[4] x\n',
        'sequence_of_nothing/msg/Nothing': '',
    }.items():
        file = tmp_path / 'share' / f'{name}.msg'
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path


def test_a_definition_has_those_of_all_types_in_it(prefix: Path) -> None:
    text = MessageDefinitions(prefixes=[prefix]).text('odd_msgs/msg/Odd')
    assert text.startswith(ODD)
    store = get_typestore(Stores.EMPTY)
    store.register(get_types_from_msg(text, 'odd_msgs/msg/Odd'))
    fields = [name for name, _ in store.fielddefs['odd_msgs/msg/Odd'][1]]
    assert fields == ['inner', 'header', 'word', 'nothing']
    assert {'odd_msgs/msg/Inner', 'std_msgs/msg/Header', 'builtin_interfaces/msg/Time'} <= set(
        store.fielddefs
    )


def test_common_types_need_no_ros() -> None:
    text = MessageDefinitions(prefixes=[]).text('sensor_msgs/msg/NavSatFix')
    found = get_types_from_msg(text, 'sensor_msgs/msg/NavSatFix')
    known = get_typestore(Stores.ROS2_JAZZY).fielddefs
    assert len(found) == 4 and all(found[name] == known[name] for name in found)


def test_a_class_tells_its_fields() -> None:
    fields = {
        'a_msgs/msg/Outer': {
            'stamp': 'builtin_interfaces/Time',
            'inner': 'sequence<b_msgs/Inner, 2>',
            'numbers': 'double[9]',
            'words': 'sequence<string<7>>',
            'many': 'sequence<float>',
            'yes': 'boolean',
        },
        'b_msgs/msg/Inner': {'structure_needs_at_least_one_member': 'uint8'},
    }
    text = MessageDefinitions(fields.get, []).text('a_msgs/msg/Outer')
    own, *inner = text.split('\n' + '=' * 80 + '\nMSG: ')
    assert own.splitlines() == [
        'builtin_interfaces/Time stamp',
        'b_msgs/Inner[<=2] inner',
        'float64[9] numbers',
        'string<=7[] words',
        'float32[] many',
        'bool yes',
    ]
    assert {text.partition('\n')[0] for text in inner} == {
        'builtin_interfaces/Time',
        'b_msgs/Inner',
    }


@pytest.mark.parametrize('name', ['no_msgs/msg/None', '../../etc/msg/passwd', '', 'x', 'a/srv/B'])
def test_unknown_types_are_not_known(prefix: Path, name: str) -> None:
    assert MessageDefinitions(prefixes=[prefix]).text(name) is None


def test_a_type_that_holds_an_unknown_one_is_not_known(prefix: Path) -> None:
    (prefix / 'share' / 'odd_msgs' / 'msg' / 'Inner.msg').unlink()
    assert MessageDefinitions(prefixes=[prefix]).text('odd_msgs/msg/Odd') is None

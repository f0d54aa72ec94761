# SPDX-License-Identifier: Apache-2.0
"""Names of topics worked out without a node are those that a node comes to."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import line_of

from ashtkd_ros.errors import VprError
from ashtkd_ros.ros.topic_names import NodeNames, image_topics, parse_remappings

RULES = (
    'image:=/x',
    'image/compressed:=/other/jpg',
    '~/place:=place',
    '~/place:=~/places',
    'vpr_node:image:=mine',
    'other:image:=theirs',
    'rostopic://image:=/y',
    'rosservice://image:=service',
    '/diagnostics:=diag',
    '/robot1/front/image:=/z',
    '/image:=/w',
    'image:=~/seen',
)
ASKED = ('image', 'image/compressed', '~/place', '/diagnostics', '~/pose')


@pytest.mark.ros
@pytest.mark.parametrize('namespace', ['/', '/robot1/front'])
def test_names_are_those_of_a_node(namespace: str) -> None:
    """Each rule alone, and two of them either way, since the first one that fits is taken."""
    rclpy = pytest.importorskip('rclpy', reason='rclpy cannot be imported')
    pairs = [*zip(RULES, RULES[1:], strict=False), *zip(RULES, RULES[6:], strict=False)]
    for rules in [*((a,) for a in RULES), *pairs, *(pair[::-1] for pair in pairs)]:
        given = [word for rule in rules for word in ('-r', rule)]
        context = rclpy.context.Context()
        rclpy.init(args=['--ros-args', *given], context=context)
        node = rclpy.create_node('vpr_node', namespace=namespace, context=context)
        names = NodeNames(namespace, 'vpr_node', parse_remappings(' '.join(rules)))
        for name in ASKED:
            assert names.resolve(name) == node.resolve_topic_name(name), (rules, name)
        node.destroy_node()
        context.try_shutdown()


def test_where_images_may_be() -> None:
    assert image_topics(False, '/x') == ['/x']
    assert image_topics(True, '/x') == ['/x/compressed', '/x']
    assert image_topics(True, '/x/compressed') == ['/x/compressed']
    assert image_topics(True, '/x', '/other/jpg') == ['/other/jpg']
    names = NodeNames('/front', 'vpr_node', [('image', 'raw')])
    assert names.image_topics(['raw', 'compressed']) == ['/front/raw', '/front/raw/compressed']


SECTION = '\n  ros__parameters:\n    image_transport: compressed\n'


@pytest.mark.parametrize(
    ('text', 'found'),
    [
        ('/**:' + SECTION, ['compressed']),
        ('/*/vpr_node:' + SECTION, ['compressed']),
        ('/**/vpr_node:' + SECTION, ['compressed']),
        ('/front/vpr_node:' + SECTION, ['compressed']),
        ('front:\n vpr_node:\n  ros__parameters:\n   image_transport: compressed', ['compressed']),
        ('/rear/vpr_node:' + SECTION, ['raw']),
        ('vpr_node:' + SECTION, ['raw']),
        ('/**:\n  ros__parameters:\n    top_k: 3\n', ['raw']),
        ('', ['raw']),
        ('/**:' + SECTION + '/front/vpr_node:\n  ros__parameters: {image_transport: raw}\n', None),
        ('&a [', None),
    ],
)
def test_the_transport_of_a_parameters_file(text: str, found: list | None, tmp_path: Path) -> None:
    file = tmp_path / 'params.yaml'
    file.write_text(text)
    names = NodeNames('/front', 'vpr_node', [])
    assert names.image_transports([str(file)]) == (found or ['raw', 'compressed'])
    assert names.image_transports([]) == ['raw']
    assert names.image_transports([], ['compressed']) == ['compressed']
    assert names.image_transports([str(tmp_path / 'none')]) == ['raw', 'compressed']


def test_rules_that_are_none() -> None:
    assert parse_remappings('') == []
    for text in ('foo', 'a:=b foo', ':=b', 'a:=', 'a:=b:=c'):
        with pytest.raises(VprError) as error:
            parse_remappings(text)
        assert line_of(error).startswith('remappings has "')

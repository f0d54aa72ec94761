# SPDX-License-Identifier: Apache-2.0
"""What lies beside the node for a robot names the node's own topics, services and packages."""

from __future__ import annotations

import configparser
import json
import re
from xml.etree import ElementTree

import yaml
from conftest import ROOT

CONFIG, DEPLOY = ROOT / 'config', ROOT / 'tools' / 'deploy'
QUALIFIERS = ('publish', 'subscribe', 'reply')


def granted(namespace: str = '') -> dict[str, set[str]]:
    """publish, subscribe, reply → names that the SROS2 policy allows to the node."""
    policy = ElementTree.parse(CONFIG / 'sros2' / 'policy.xml').getroot()
    assert (policy.tag, policy.get('version')) == ('policy', '0.2.0')
    (profile,) = policy.findall('enclaves/enclave/profiles/profile')
    assert (profile.get('ns'), profile.get('node')) == ('/', 'vpr_node')
    names = {qualifier: set() for qualifier in QUALIFIERS}
    for group in profile:
        ((qualifier, verdict),) = group.attrib.items()
        assert verdict == 'ALLOW'
        for entry in group:
            assert f'{entry.tag}s' == group.tag
            name = entry.text.replace('~', 'vpr_node')
            names[qualifier].add(name if name.startswith('/') else f'{namespace}/{name}')
    return names


def rviz_topics() -> dict[str, str]:
    """Display class → topic."""
    manager = yaml.safe_load((CONFIG / 'vpr.rviz').read_text())['Visualization Manager']
    assert manager['Global Options']['Fixed Frame'] == 'map'
    displays = {d['Class'].partition('/')[2]: d for d in manager['Displays']}
    assert all(d['Class'].startswith('rviz_default_plugins/') for d in displays.values())
    assert 'TF' in displays
    assert displays['MarkerArray']['Topic']['Durability Policy'] == 'Transient Local'
    return {name: d['Topic']['Value'] for name, d in displays.items() if 'Topic' in d}


def foxglove() -> dict:
    return json.loads((CONFIG / 'foxglove.json').read_text())


def topics_in(value: object) -> set[str]:
    """Topics that a Foxglove layout shows; not those of its clicks, nor a status's name."""
    if isinstance(value, dict):
        shown = {k: v for k, v in value.items() if k not in ('publish', 'selectedName')}
        return set().union(*map(topics_in, [*shown, *shown.values()]))
    if isinstance(value, list):
        return set().union(*map(topics_in, value))
    match = (
        re.match(r'/[\w/]+(?!.*: place recognition$)', value) if isinstance(value, str) else None
    )
    return {match.group()} if match else set()


def panels_in(layout: str | dict) -> list[str]:
    """Ids of the panels in a layout's tree."""
    if isinstance(layout, str):
        return [layout]
    assert layout['direction'] in ('row', 'column') and 0 < layout['splitPercentage'] < 100
    return panels_in(layout['first']) + panels_in(layout['second'])


def test_rviz_shows_what_the_node_publishes() -> None:
    topics = rviz_topics()
    assert set(topics) == {'MarkerArray', 'PoseWithCovariance', 'Image'}
    assert set(topics.values()) <= granted()['publish']


def test_foxglove_shows_what_the_node_publishes() -> None:
    layout = foxglove()
    assert set(layout) == {
        *('configById', 'globalVariables', 'userNodes', 'playbackConfig', 'layout'),
    }
    panels = panels_in(layout['layout'])
    assert sorted(panels) == sorted(layout['configById'])
    kinds = {panel.partition('!')[0] for panel in panels}
    assert {'3D', 'Image', 'Plot', 'Indicator', 'DiagnosticStatusPanel'} <= kinds
    shown = topics_in(layout['configById'])
    assert shown <= granted()['publish']
    assert {'/diagnostics', '/vpr_node/place', '/vpr_node/debug_image'} <= shown


def test_robot_localization_fuses_the_pose() -> None:
    file = yaml.safe_load((CONFIG / 'nav2' / 'ekf_vpr.yaml').read_text())
    ekf = file['ekf_filter_node_map']['ros__parameters']
    assert f'/{ekf["pose0"]}' in granted()['publish']
    assert [i for i, used in enumerate(ekf['pose0_config']) if used] == [0, 1, 5]  # x, y, yaw
    assert len(ekf['pose0_config']) == len(ekf['odom0_config']) == 15
    assert ekf['world_frame'] == ekf['map_frame']
    assert not (ekf['pose0_differential'] or ekf['pose0_relative'])


def test_nav2_s_manager_waits_for_no_bond() -> None:
    file = yaml.safe_load((CONFIG / 'nav2' / 'lifecycle_manager.yaml').read_text())
    manager = file['lifecycle_manager_vpr']['ros__parameters']
    assert manager['node_names'] == ['vpr_node']
    assert isinstance(manager['bond_timeout'], float) and manager['bond_timeout'] == 0.0


def test_the_unit_restarts_what_fails() -> None:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str
    unit.read(DEPLOY / 'ashtkd_vpr.service')
    assert unit['Service']['Restart'] == 'on-failure'
    assert unit['Service']['KillSignal'] == 'SIGINT'
    assert 'respawn:=true' in unit['Service']['ExecStart']
    assert unit['Unit']['StartLimitIntervalSec'] == '0'


def test_the_image_installs_what_the_documentation_says() -> None:
    page = (ROOT / 'doc' / 'on_a_robot.md').read_text()
    image = (DEPLOY / 'Dockerfile').read_text()
    packages = re.search(r'pip3 install (.+)', page).group(1).replace("'", '').split()
    keys = re.search(r"skip-keys '([^']+)'", page).group(1)
    assert keys in image
    assert all(package in image for package in packages)
    kept = {
        line[1:]
        for line in (DEPLOY / 'Dockerfile.dockerignore').read_text().splitlines()
        if line.startswith('!')
    }
    assert all((ROOT / name).exists() for name in kept)
    assert {'ashtkd_ros', 'launch', 'config', 'models', 'resource', 'setup.py'} <= kept

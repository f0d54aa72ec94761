# SPDX-License-Identifier: Apache-2.0
"""outdoor_test.launch.py hands its arguments to vpr_trial, and fails where that fails."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT

pytest.importorskip('launch_ros', reason='launch_ros cannot be imported')

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from ros_helpers import PATIENCE_S, until

from ashtkd_ros.ros.trial.processes import running
from ashtkd_ros.ros.trial.supervisor import end_trial
from ashtkd_ros.ros.trial.trial_options import all_arguments, trial_parser

pytestmark = pytest.mark.ros
FILE = ROOT / 'launch' / 'outdoor_test.launch.py'
RUN = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription as Include
from launch.launch_description_sources import PythonLaunchDescriptionSource as Source
arguments = [tuple(word.split(':=', 1)) for word in sys.argv[2:]]
included = Include(Source(sys.argv[1]), launch_arguments=arguments)
service = LaunchService(argv=sys.argv[2:])
service.include_launch_description(LaunchDescription([included]))
sys.exit(service.run())
"""


def description() -> tuple[object, LaunchDescription]:
    spec = importlib.util.spec_from_file_location('outdoor_test', FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, module.generate_launch_description()


def command(outer: dict[str, object] | None = None, **given: str) -> list[str]:
    """The command that the launch starts, with arguments given and what an outer launch set."""
    module, entities = description()
    module.ExecuteProcess = lambda **options: options
    context = LaunchContext()
    context.launch_configurations.update({**given, **(outer or {})})
    started = []
    for entity in entities.entities:
        if isinstance(entity, DeclareLaunchArgument):
            entity.visit(context)
        elif isinstance(entity, OpaqueFunction):
            started += entity.visit(context)
    (process,) = started
    return process['cmd']


def test_every_option_of_the_trial_is_an_argument():
    declared = [e for e in description()[1].entities if isinstance(e, DeclareLaunchArgument)]
    assert [a.name for a in declared] == [name for name, _, _ in all_arguments()]
    assert all(a.description and a.default_value is not None for a in declared)


def test_what_is_given_is_what_the_trial_gets():
    given = {'trial': 'yard', 'remarks': '-x "a b"', 'map_path': '~/m', 'check': 'warn'}
    words = command(**given, namespace='robot1')
    assert words[1:4] == ['-m', 'ashtkd_ros.entry', 'vpr_trial'] and '--ros-args' not in words
    args = trial_parser('').parse_args(words[4:])
    usual = {name: default for name, default, _ in all_arguments()}
    found = {name: getattr(args, name) for name in usual}
    assert found == {**usual, **given, 'namespace': '/robot1'}


def test_what_an_outer_launch_has_set_for_all_nodes():
    outer = {
        'ros_namespace': '/fleet',
        'ros_remaps': [('image', '/x')],
        'global_params': [('use_sim_time', True), '/etc/params.yaml'],
    }
    words = command(outer, namespace='robot1')
    assert '--namespace=/fleet/robot1' in words
    after = words[words.index('--ros-args') + 1 :]
    assert after == [
        '-r',
        'image:=/x',
        '-p',
        'use_sim_time:=True',
        '--params-file',
        '/etc/params.yaml',
    ]


def test_a_trial_that_cannot_begin_fails_the_launch(tmp_path: Path):
    given = [f'trials_folder:={tmp_path}/trials', 'min_confidence:=high']
    done = subprocess.run(
        [sys.executable, '-c', RUN, str(FILE), *given], capture_output=True, text=True, timeout=180
    )
    said = done.stdout + done.stderr
    assert done.returncode == 1 and 'Traceback' not in said
    assert 'min_confidence is "high"; it must be a number' in said
    assert not (tmp_path / 'trials').exists()


def launched(trials: Path) -> subprocess.Popen:
    """The launch of a trial without check list, recorder and map."""
    given = [f'trials_folder:={trials}', 'check:=false', 'record:=false', 'trial:=x', 'node:=true']
    command = [sys.executable, '-c', RUN, str(FILE), *given]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_ctrl_c_ends_a_trial_well(tmp_path: Path):
    """What the trial starts ends too. There is no map here, so the node dies again and again; no
    terminal sends the signal to the trial, so the launch ends it after 5 s."""
    root = tmp_path / 'trials'
    with launched(root) as launch:
        said = []
        for line in launch.stdout:
            if 'it is started again' in line and 'it is started again' not in ''.join(said):
                launch.send_signal(signal.SIGINT)
            said.append(line)
        assert launch.wait(120) == 0
    text = ''.join(said)
    assert 'the trial lies in' in text and 'Traceback' not in text
    (trial,) = root.iterdir()
    kinds = [line.split('"kind": "')[1].split('"')[0] for line in (trial / 'events.jsonl').open()]
    assert kinds[0] == 'started' and kinds[-1] == 'ended' and 'process died' in kinds


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGKILL])
def test_sigterm_ends_the_trial_and_a_kill_of_the_launch_does_not(number: int, tmp_path: Path):
    root = tmp_path / 'trials'
    with launched(root) as launch:
        for line in launch.stdout:
            if 'it is started again' in line:
                break
        (trial,) = root.iterdir()
        try:
            launch.send_signal(number)
            launch.wait(PATIENCE_S)
            if number == signal.SIGTERM:
                until(lambda: not running(trial), 'the end of the trial', lambda: time.sleep(0.1))
                return
            time.sleep(2.0)
            assert 'trial_watch' in running(trial)
        finally:
            launch.kill()
            if running(trial):
                end_trial(trial)

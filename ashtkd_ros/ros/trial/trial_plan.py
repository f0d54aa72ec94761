# SPDX-License-Identifier: Apache-2.0
"""What a trial will start, by its arguments: the nodes, the topics to record, the commands."""

from __future__ import annotations

import re
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cached_property
from pathlib import Path, PurePosixPath

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.documents import parse_yaml
from ashtkd_ros.files.shipped import shipped_file
from ashtkd_ros.ros.node_arguments import NodeArguments
from ashtkd_ros.ros.topic_names import check_topic
from ashtkd_ros.ros.trial.node_plan import NodePlan, check_files
from ashtkd_ros.ros.trial.trial_options import CHECKS, SHIPPED
from ashtkd_ros.trials.equipment import machine_facts, map_facts, model_facts, program_version
from ashtkd_ros.trials.folder import TrialFolder, check_name
from ashtkd_ros.trials.sheet import Sheet
from ashtkd_ros.trials.vocabulary import EVENT_TOPIC, MARK_TOPIC, MARKED_TOPIC

RECORDER, WATCH, CHECK = 'trial_recorder', 'trial_watch', 'trial_check'
DIAGNOSTICS = '/diagnostics'
_OF_THE_ROBOT = (DIAGNOSTICS, '/tf', '/tf_static')
_OF_THE_TRIAL = (MARK_TOPIC, MARKED_TOPIC, EVENT_TOPIC)
_LONGEST_MINUTES = 24 * 60


@dataclass(frozen=True)
class TrialPlan:
    """`given`: argument → text, all of `all_arguments`; `ros_arguments`: what all nodes get.

    VprError where an argument makes no sense.
    """

    given: Mapping[str, str]
    ros_arguments: Sequence[str] = ()

    def check(self) -> None:
        """VprError for any argument that makes no sense."""
        check_name(self.sheet.name)
        Sheet.parsed(parse_yaml(self.sheet.text().encode()), Path('the arguments'))
        if self.checked not in CHECKS:
            raise VprError(f'check is "{self.checked}"; it must be {" or ".join(CHECKS)}')
        seconds, minutes = self._text('split_s'), self._arguments.value('planned_minutes', 0.0)
        if not re.fullmatch(r'[1-9][0-9]{0,8}', seconds):
            raise VprError(f'split_s is "{seconds[:40]}"; it must be a whole number, 1 or more')
        if not self._arguments.path('trials_folder'):
            raise VprError('trials_folder is empty; name a folder')
        if not 0 < minutes <= _LONGEST_MINUTES:
            raise VprError(
                f'planned_minutes is {minutes:g}; it must be above 0, and at most a day'
            )
        check_files(self._files)
        for node in self.nodes:
            node.command()
            for topic in node.image_topics():
                check_topic(topic)
        for topic in self.recorded():
            check_topic(topic)
        if not (self.records or self.has_nodes):
            raise VprError(
                'with record false and node false there is nothing to do; set one of them true'
            )

    @cached_property
    def _arguments(self) -> NodeArguments:
        return NodeArguments(self.given.__getitem__)

    def _text(self, name: str) -> str:
        return self._arguments.text(name)

    @property
    def sheet(self) -> Sheet:
        """The sheet as far as it is filled in."""
        machine = re.sub(r'[^\w-]', '_', socket.gethostname())[:80] or 'trial'
        texts = {f.name: self._text(f.name) for f in fields(Sheet) if f.name != 'name'}
        return Sheet(self._text('trial') or machine, **texts)

    @property
    def checked(self) -> str:
        """What the check list may do: one of CHECKS."""
        return self._text('check')

    @property
    def records(self) -> bool:
        """Whether a recorder runs."""
        return self._arguments.is_true('record')

    @property
    def has_nodes(self) -> bool:
        """Whether vpr_node runs."""
        return self._arguments.is_true('node')

    @cached_property
    def _files(self) -> list[str]:
        file = self._arguments.path('params_file')
        if file == SHIPPED:
            return [str(f) for f in [shipped_file(Path('config', 'vpr.yaml'))] if f]
        return [file] if file else []

    @cached_property
    def nodes(self) -> list[NodePlan]:
        """One for each camera."""
        cameras = self._arguments.cameras()
        return [NodePlan(self._arguments, c, self._files, self.ros_arguments) for c in cameras]

    def create_folder(self) -> TrialFolder:
        """The new folder of the trial, with its sheet."""
        root = Path(self._arguments.path('trials_folder'))
        return TrialFolder.create(root, self.sheet, datetime.now())

    def _of_the_robot(self, name: str) -> str:
        topic = self._text(name)
        return str(self._arguments.robot() / topic) if topic else ''

    def _of_the_trial(self) -> list[str]:
        return [str(self._arguments.robot() / topic) for topic in _OF_THE_TRIAL]

    def topics(self, cameras: Sequence[str] = ()) -> dict[str, object]:
        """Full names by what they are; `cameras`: the topics that turned out to have images."""
        images = [node.image_topics() for node in self.nodes]
        found = [next((t for t in topics if t in cameras), topics[0]) for topics in images]
        topics = {'camera': found}
        for name in ('fix', 'odom', 'battery'):
            topics[name] = self._of_the_robot(f'{name}_topic')
        for name in ('place', 'pose', 'vision_info') if self.has_nodes else ():
            topics[name] = [node.names.resolve(f'~/{name}') for node in self.nodes]
        return {**topics, 'diagnostics': DIAGNOSTICS}

    def recorded(self) -> list[str]:
        """Topics to record: fixes first, then odometry, then what each node sees and answers."""
        known = (self._of_the_robot(f'{n}_topic') for n in ('fix', 'odom', 'battery'))
        topics = [topic for topic in known if topic]
        for node in self.nodes:
            topics += [*node.image_topics(), *(node.answer_topics() if self.has_nodes else [])]
        own = self._of_the_trial()
        others = [str(PurePosixPath('/', t)) for t in self._text('other_topics').split()]
        return list(dict.fromkeys([*topics, *_OF_THE_ROBOT, *own, *others]))

    def own_topics(self) -> list[str]:
        """Those of the recorded topics that the processes of the trial publish themselves."""
        nodes = self.nodes if self.has_nodes else []
        answers = [topic for node in nodes for topic in node.answer_topics()]
        return [DIAGNOSTICS, *self._of_the_trial(), *answers]

    def commands(self, trial: TrialFolder) -> dict[str, list[str]]:
        """Name → command of each process that lasts, in the order of starting."""
        commands = {}
        if self.records:
            options = ['--trial', str(trial.path), '--split-s', self._text('split_s')]
            commands[RECORDER] = [*_module('recorder'), *options, *self.recorded()]
        commands[WATCH] = [*_module('watch'), '--trial', str(trial.path)]
        nodes = self.nodes if self.has_nodes else []
        return {**commands, **{node.node: node.command() for node in nodes}}

    def check_command(self, trial: TrialFolder) -> list[str]:
        """Of the check list."""
        return [*_module('check'), '--trial', str(trial.path)]

    def configuration(self, cameras: Sequence[str] = ()) -> dict[str, object]:
        """What configuration.yaml says, with the time of now. `cameras`: see `topics`."""
        node, shown = self.nodes[0], self.has_nodes
        configuration: dict[str, object] = {
            'version': 1,
            'program': program_version(),
            'started': datetime.now().astimezone().isoformat(timespec='seconds'),
            'started_ns': time.time_ns(),
            'started_monotonic_ns': time.monotonic_ns(),
            'machine': machine_facts(),
            'arguments': {name: text for name, text in self.given.items() if text},
            'namespace': str(self._arguments.robot()),
            'topics': self.topics(cameras),
            'image_topics': [node.image_topics() for node in self.nodes],
            'image_transports': [n.image_transports() for n in self.nodes if self.has_nodes],
            'recorded': self.recorded() if self.records else [],
            'own_topics': self.own_topics(),
            'nodes': [node.node for node in self.nodes] if shown else [],
            'parameters_files': self._files,
            'planned_minutes': self._arguments.value('planned_minutes', 0.0),
        }
        used = ((n.path('model_path'), n.path('map_path')) for n in self.nodes if shown)
        configuration['equipment'] = [list(paths) for paths in dict.fromkeys(used)]
        if shown:
            configuration['model'] = _facts(model_facts, node.path('model_path'))
            configuration['map'] = _facts(_map_facts, node.path('map_path'))
        return configuration


def _module(name: str) -> list[str]:
    return [sys.executable, '-m', f'ashtkd_ros.ros.trial.{name}']


def _map_facts(path: str) -> dict[str, object]:
    if not path:
        raise VprError('map_path is not set; give the folder of a map, or node false')
    return map_facts(path)


def _facts(facts: Callable[[str], Mapping[str, object]], path: str) -> dict[str, object]:
    """The facts of a map or model, or why there are none; the check list says that loudly."""
    try:
        return dict(facts(path))
    except VprError as error:
        return {'path': path, 'error': str(error)}

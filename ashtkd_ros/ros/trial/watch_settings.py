# SPDX-License-Identifier: Apache-2.0
"""What is watched in a trial, by its configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ashtkd_ros.errors import VprError
from ashtkd_ros.ros.topic_names import check_topic
from ashtkd_ros.ros.trial.check_settings import CheckSettings
from ashtkd_ros.trials.folder import TrialFolder


@dataclass(frozen=True)
class WatchSettings:
    """`cameras`: topic of each camera's images; `nodes`, `places` and `infos`: full names of its
    node and of that node's topics, in the same order, empty without nodes. `recorder`: whether
    there is one. `namespace`: of the trial's own topics. The rest is as in CheckSettings."""

    cameras: Sequence[str]
    nodes: Sequence[str]
    places: Sequence[str]
    infos: Sequence[str]
    recorder: bool
    namespace: str
    of_check: CheckSettings

    @classmethod
    def of_trial(cls, trial: TrialFolder) -> WatchSettings:
        """VprError where the configuration is missing or damaged."""
        of_check, values = CheckSettings.of_trial(trial, None), trial.configuration()
        topics = values['topics']
        try:
            names = [
                [str(name) for name in found]
                for found in (
                    topics['camera'],
                    values['nodes'],
                    topics.get('place', []),
                    topics.get('vision_info', []),
                )
            ]
        except (KeyError, TypeError, AttributeError) as error:
            text = f'{trial.path}: its configuration is damaged; start it by vpr_trial'
            raise VprError(text) from error
        namespace = str(values.get('namespace', '/'))
        if namespace != '/':
            check_topic(namespace)
        return cls(*names, bool(values['recorded']), namespace, of_check)

# SPDX-License-Identifier: Apache-2.0
"""What a check list is made of: by a trial's configuration, or by options."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ashtkd_ros.errors import VprError
from ashtkd_ros.images.faults import MAX_BLUR, MIN_LIGHT
from ashtkd_ros.ros.topic_names import check_topic
from ashtkd_ros.trials.folder import TRIALS, TrialFolder

_LEAST_HZ = 1.0


@dataclass(frozen=True)
class CheckSettings:
    """`cameras`: for each, the topics that its images may come on. `topics`: fix, odom, battery;
    empty: none. `recorded`: what others publish and is to be recorded. `equipment`: network and
    map of each node, where they differ. `least_hz`: images per second that are wanted.
    `simulated`: the time is that of /clock. `transports`: for each camera, those that its node may
    have; empty where there are no nodes.
    """

    cameras: Sequence[Sequence[str]]
    topics: Mapping[str, str]
    recorded: Sequence[str]
    folder: Path
    minutes: float
    equipment: Sequence[tuple[str, str]]
    least_hz: float = _LEAST_HZ
    max_blur: float = MAX_BLUR
    min_light: float = MIN_LIGHT
    simulated: bool = False
    transports: Sequence[Sequence[str]] = ()

    @classmethod
    def of_options(cls, args: argparse.Namespace) -> CheckSettings:
        """From the command line of `trial_check` without a trial; VprError."""
        names = ('fix', 'odom', 'battery')
        topics = {name: _full(getattr(args, f'{name}_topic')) for name in names}
        cameras = [_full(topic) for topic in args.image_topic or ['image']]
        equipment = [] if args.map is None else [(str(args.model or ''), str(args.map))]
        return cls(
            [[camera] for camera in cameras],
            topics,
            [*cameras, *filter(None, topics.values())],
            _existing(Path(TRIALS).expanduser()),
            args.planned_minutes,
            equipment,
            args.hz or _LEAST_HZ,
        )

    @classmethod
    def of_trial(cls, trial: TrialFolder, hz: float | None) -> CheckSettings:
        """From configuration.yaml; VprError where that is missing or damaged."""
        values, said = trial.configuration(), f'{trial.path}: its configuration'
        try:
            arguments, topics = values['arguments'], values['topics']
            return cls(
                [[str(t) for t in group] for group in values['image_topics']],
                {name: str(topics[name]) for name in ('fix', 'odom', 'battery')},
                [str(topic) for topic in values['recorded'] if topic not in values['own_topics']],
                trial.path,
                float(values['planned_minutes']),
                [(str(model), str(place_map)) for model, place_map in values['equipment']],
                hz or _number(arguments, 'max_rate_hz', 0.0) or _LEAST_HZ,
                _number(arguments, 'max_blur', MAX_BLUR),
                _number(arguments, 'min_light', MIN_LIGHT),
                str(arguments.get('use_sim_time', '')).lower() in ('true', '1'),
                [[str(t) for t in group] for group in values.get('image_transports', ())],
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise VprError(f'{said} is missing or damaged; start it by vpr_trial') from error


def _full(topic: str) -> str:
    return check_topic(str(PurePosixPath('/', topic))) if topic else ''


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(f for f in (folder, *folder.absolute().parents) if f.is_dir())


def _number(arguments: Mapping[str, str], name: str, default: float) -> float:
    text = arguments.get(name, '')
    value = float(text) if text else default
    return value if math.isfinite(value) else default

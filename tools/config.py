# SPDX-License-Identifier: Apache-2.0
"""The settings of a training, read from config/train/*.yaml; an unknown key is an error."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from ashtkd_ros.errors import VprError
from tools.apformer import APFormerConfig
from tools.student import StudentConfig

_STRICT = ConfigDict(extra='forbid', frozen=True, allow_inf_nan=False)


# The losses that need a teacher.
TAUGHT = ('soft', 'hard', 'descriptor', 'levels', 'salient')


@dataclass(config=_STRICT)
class Lesson:
    """What a network is taught: the weight of each loss (0: left out) and its constants.

    `teachers`: names from the config's list; `adaptive`: how they are weighted for each query.
    `soft`, `hard`: steps 2 and 3 of the method; `descriptor`, `levels`, `salient`: feature-level
    guidance, step 4; `ranking`: the cross-entropy loss network, step 5; `metric`: step 6.
    """

    teachers: tuple[str, ...] = ()
    adaptive: Literal['confidence', 'gate', 'mean'] = 'confidence'
    soft: float = 0.0
    hard: float = 0.0
    descriptor: float = 0.0
    levels: float = 0.0
    salient: float = 0.0
    ranking: float = 0.0
    metric: float = 1.0
    tau: float = 0.1
    tau_t: float = 0.1
    tau_w: float = 0.5
    top: int = 8
    hidden: int = 64

    def __post_init__(self):
        by_teachers = {n: getattr(self, n) for n in TAUGHT if getattr(self, n)}
        if by_teachers and not self.teachers:
            raise ValueError(f'{", ".join(by_teachers)}: a weight, but no teachers to learn from')
        if not by_teachers and not self.ranking and not self.metric:
            raise ValueError('every loss has the weight 0')


@dataclass(config=_STRICT)
class Schedule:
    """Steps and optimiser: AdamW, cosine with warm-up, moving average of the weights.

    `places` x `views` images a step; learning rates for new and for pretrained layers;
    `frozen`: the student's lowest levels that stay as they are (0 none, 1 to stride 8, 2 to
    stride 16); `clean_database`, `clean_query`: share of images that are not degraded.
    """

    steps: int = 1000
    places: int = 8
    views: int = 4
    learning_rate: float = 3e-4
    pretrained_rate: float = 1e-4
    weight_decay: float = 0.02
    warm_up: float = 0.05
    average: float = 0.998
    frozen: int = 1
    clean_database: float = 0.5
    clean_query: float = 0.1
    checkpoint_steps: int = 100
    domains: tuple[str, ...] = ()
    seed: int = 0


@dataclass(config=_STRICT)
class TeacherConfig:
    """One teacher: a frozen trunk's pooled descriptor, or an APFormer trained on the trunk.

    `dimensions`: of the frozen trunk's descriptor, whitened on the training pictures.
    """

    name: str
    trunk: Path
    dimensions: int = 1024
    apformer: APFormerConfig | None = None
    lesson: Lesson = field(default_factory=Lesson)
    schedule: Schedule = field(default_factory=Schedule)


@dataclass(config=_STRICT)
class TrainConfig:
    """A whole training: places, their fixed views, teachers, then the student.

    `start`: an exported student (.onnx) or MobileNetV2 weights (.npz). `fresh_views`: the student
    is shown views that are drawn anew, of which the teachers speak on the fly (for a GPU).
    """

    out: Path
    views_folder: Path
    sources: tuple[dict[str, Any], ...]
    views_of_picture: int = 2
    fresh_views: bool = False
    teachers: tuple[TeacherConfig, ...] = ()
    student: StudentConfig = field(default_factory=StudentConfig)
    start: Path | None = None
    lesson: Lesson = field(default_factory=Lesson)
    schedule: Schedule = field(default_factory=Schedule)

    def __post_init__(self):
        names = [t.name for t in self.teachers]
        for lesson in (self.lesson, *(t.lesson for t in self.teachers)):
            for name in lesson.teachers:
                if name not in names:
                    raise ValueError(f'no teacher is named {name}')
        if len(set(names)) < len(names):
            raise ValueError('two teachers have the same name')


def read_config(path: Path) -> TrainConfig:
    """Settings of a file; what it leaves out comes from the file that its `base` names.

    VprError that names the key where a file is missing, no YAML, or holds a wrong value.
    """
    try:
        return TypeAdapter(TrainConfig).validate_python(_load(Path(path)))
    except ValidationError as error:
        first = error.errors()[0]
        where = '.'.join(str(part) for part in first['loc'])
        raise VprError(f'{path}: {where or "settings"}: {first["msg"]}') from error


def _load(path: Path) -> Any:
    try:
        values = yaml.safe_load(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise VprError(f'{path}: cannot be read ({error.strerror})') from error
    except (yaml.YAMLError, ValueError) as error:
        raise VprError(f'{path}: is no YAML ({str(error).splitlines()[0]})') from error
    if isinstance(values, dict) and 'base' in values:
        base = _load(path.parent / str(values.pop('base')))
        return _merged(base, values)
    return values


def _merged(base: Any, changes: Any) -> Any:
    """Mappings key by key; anything else is replaced."""
    if not isinstance(base, dict) or not isinstance(changes, dict):
        return changes
    return base | {key: _merged(base.get(key), value) for key, value in changes.items()}


def as_plain(config: Any) -> dict:
    """The resolved settings as YAML takes them."""
    return TypeAdapter(type(config)).dump_python(config, mode='json')

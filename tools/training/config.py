# SPDX-License-Identifier: Apache-2.0
"""The settings of a training, read from config/train/*.yaml; an unknown key is an error."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass

from tools.training.networks.apformer import APFormerConfig
from tools.training.networks.student import StudentConfig
from tools.training.setting_types import (
    Bool,
    FilePath,
    FolderName,
    Name,
    Names,
    NonNegativeFloat,
    NonNegativeInt,
    Number,
    Pixels,
    PositiveFloat,
    PositiveInt,
    Seed,
    SettingError,
    Share,
    Whole,
    checked,
    each_once,
)
from tools.training.settings_file import load_settings

Positives = Literal['neighbours', 'place', 'camera', 'tour', 'pairs', 'place_or_pairs', 'none']
_STRICT = ConfigDict(extra='forbid', frozen=True, allow_inf_nan=False)
_OTHER_LOSSES = ('match', 'vote', 'metric')
# The losses that need a teacher.
TEACHER_LOSSES = ('soft', 'hard', 'descriptor', 'maps', 'levels', 'salient')


@dataclass(config=_STRICT)
class SetsSource:
    """Folders with an index.csv under `path`, all of them or `only` those that are named.

    `positives`: which pictures of a set show the same place:
    `neighbours`: those whose `order` on one walk differs by `radius` at most;
    `place`: those of the same `place`; `camera`: the same, taken by one camera that does not move;
    `tour`: the same; other places of its tour, the part of `place` before "/", may show it too;
    `pairs`: a picture and its partners in pairs.csv; other pictures of its `place` may show it;
    `place_or_pairs`: those of the same `place` or in pairs.csv; all the others may show it too;
    `none`: nothing is known: a pool of pictures for which teachers alone tell what is similar.
    Each picture of another set is a place of its own. Pictures of one walk that are `apart` radii
    from each other, or more, show different places; 1.0e+6 where the camera may stand still.
    `weight`: how often the places are drawn (default: the root of their number).
    """

    kind: Literal['sets']
    path: FilePath
    positives: dict[Name, Positives] = field(default_factory=dict)
    radius: PositiveFloat = 1.0
    apart: Annotated[float, Field(gt=1.0)] = 10.0
    only: Annotated[Names, Field(min_length=1)] | None = None
    weight: PositiveFloat | None = None


@dataclass(config=_STRICT)
class WalksSource:
    """Walks with poses through one world: a place every `spacing` metres of the first.

    Pictures show a place that were taken at most `metres` and `degrees` of heading from it.
    """

    kind: Literal['walks']
    paths: Annotated[tuple[FilePath, ...], Field(min_length=1), each_once]
    spacing: PositiveFloat = 5.0
    metres: PositiveFloat = 3.0
    degrees: PositiveFloat = 40.0
    weight: PositiveFloat | None = None


@dataclass(config=_STRICT)
class FoldersSource:
    """A folder of folders, each with the pictures of one place."""

    kind: Literal['folders']
    path: FilePath
    weight: PositiveFloat | None = None


@dataclass(config=_STRICT)
class GsvSource:
    """A table like those of GSV-Cities (`path`, CSV) and the folder of its `images`."""

    kind: Literal['gsv']
    path: FilePath
    images: FilePath
    weight: PositiveFloat | None = None


Source = Annotated[
    SetsSource | WalksSource | FoldersSource | GsvSource, Field(discriminator='kind')
]


@dataclass(config=_STRICT)
class Lesson:
    """What a network is taught: the weights of the losses (0 leaves one out) and their constants.

    `teachers`: names from the config's list; `adaptive`: how they are weighted for each view.
    `match`: local features find known points again; `vote`: they rank candidates, step 5; `maps`,
    `descriptor`, `levels`, `salient`: feature-level guidance, step 4; `soft`, `hard`: steps 2 and
    3 of the method; `metric`: step 6.
    `bank`: views of earlier steps that are remembered. Temperatures: `tau` of the student's
    similarities, `tau_match` of local features', `tau_t` of teachers' similarities in deviations,
    `tau_w` of the losses by which teachers are weighted.
    """

    teachers: Names = ()
    adaptive: Literal['confidence', 'gate', 'mean'] = 'confidence'
    match: NonNegativeFloat = 0.0
    vote: NonNegativeFloat = 0.0
    maps: NonNegativeFloat = 0.0
    descriptor: NonNegativeFloat = 0.0
    levels: NonNegativeFloat = 0.0
    salient: NonNegativeFloat = 0.0
    soft: NonNegativeFloat = 0.0
    hard: NonNegativeFloat = 0.0
    metric: NonNegativeFloat = 1.0
    bank: NonNegativeInt = 1024
    tau: PositiveFloat = 0.1
    tau_match: PositiveFloat = 0.07
    tau_t: PositiveFloat = 1.0
    tau_w: PositiveFloat = 0.5

    def __post_init__(self):
        by_teachers = {n: getattr(self, n) for n in TEACHER_LOSSES if getattr(self, n)}
        if by_teachers and not self.teachers:
            raise SettingError(
                'teachers',
                f'is empty, but these losses need teachers: {", ".join(by_teachers)}; name some, '
                'or set the weights to 0',
            )
        if not by_teachers and not any(getattr(self, name) for name in _OTHER_LOSSES):
            names = ', '.join((*TEACHER_LOSSES, *_OTHER_LOSSES))
            raise SettingError(
                'metric', f'every loss has the weight 0; give one a weight: {names}'
            )


@dataclass(config=_STRICT)
class Schedule:
    """Steps and optimiser: AdamW, cosine with warm-up, moving average of the weights.

    `places` x `views` images a step, the share `unlabelled` of them of pictures whose place is not
    known; places come in groups of `group` that the teachers find similar; at most `pairs` pairs
    of views whose matching positions are known. `sizes`: [share of the steps, pixels of the
    images] one after the other, by default the network's. Learning rates: of new layers, of
    pretrained ones, of salient heads and of what is thrown away (`head_rate`), of the layers above
    that start in closed form (`layer_rate`). `frozen`: the student's lowest levels that stay as
    they are (0 none, 1 to stride 8, 2 to stride 16); `clean_database`, `clean_query`: share of
    images that are not degraded.
    """

    steps: PositiveInt = 1000
    places: PositiveInt = 8
    views: Annotated[Whole, Field(ge=2)] = 4  # both branches need one
    group: PositiveInt = 4
    unlabelled: Share = 0.25
    pairs: NonNegativeInt = 16
    sizes: tuple[tuple[Annotated[Number, Field(gt=0)], Pixels], ...] = ()
    learning_rate: PositiveFloat = 2e-4
    pretrained_rate: PositiveFloat = 1e-4
    head_rate: PositiveFloat = 1e-3
    layer_rate: PositiveFloat = 2e-4
    weight_decay: NonNegativeFloat = 0.02
    warm_up: Annotated[Number, Field(gt=0, le=1)] = 0.05
    average: Annotated[Number, Field(ge=0, lt=1)] = 0.998
    frozen: Annotated[Whole, Field(ge=0, le=2)] = 1
    clean_database: Share = 0.5
    clean_query: Share = 0.1
    checkpoint_steps: PositiveInt = 100
    domains: Names = ()
    seed: Seed = 0

    def __post_init__(self):
        total = sum(share for share, _ in self.sizes)
        if self.sizes and abs(total - 1) > 1e-6:
            raise SettingError('sizes', f'their shares make {total:g}; they must make 1')

    def size_at(self, step: int, full: int) -> int:
        """The images' size in pixels in a step (from 0); `full`: the network's."""
        end = 0.0
        for share, size in self.sizes:
            end += share * self.steps
            if step < round(end):
                return size
        return self.sizes[-1][1] if self.sizes else full


@dataclass(config=_STRICT)
class TeacherConfig:
    """One teacher: a frozen trunk's pooled descriptor, or an APFormer trained on the trunk.

    `pool`: GeM of the trunk's whole map, which stays where the viewpoint changes, or of the whole
    and its 2 x 2 `quarters`, which stays where light and season do. `dimensions`: of a descriptor,
    whitened on the training pictures.
    """

    name: FolderName
    trunk: FilePath
    pool: Literal['whole', 'quarters'] = 'quarters'
    dimensions: PositiveInt = 1024
    apformer: APFormerConfig | None = None
    lesson: Lesson = field(default_factory=Lesson)
    schedule: Schedule = field(default_factory=Schedule)

    @property
    def kind(self) -> str:
        """What its descriptor is of: 'whole', 'quarters' or 'apformer'."""
        return self.pool if self.apformer is None else 'apformer'


@dataclass(config=_STRICT)
class TrainConfig:
    """A whole training: places, their fixed views, teachers, then the student.

    `views_of_picture`: fixed views of each picture, which teachers see. `start`: an exported
    student (.onnx) or weights of MobileNetV2 (.npz); `new_heads`: its salient heads start anew.
    `held_back`: name of a set → each how many-th of its scenes nothing learns from
    (`data.held_back`).
    """

    out: FilePath
    views_folder: FilePath
    sources: tuple[Source, ...]
    views_of_picture: PositiveInt = 4
    teachers: tuple[TeacherConfig, ...] = ()
    student: StudentConfig = field(default_factory=StudentConfig)
    start: FilePath | None = None
    new_heads: Bool = False
    held_back: dict[Name, Annotated[Whole, Field(ge=2)]] = field(default_factory=dict)
    lesson: Lesson = field(default_factory=Lesson)
    schedule: Schedule = field(default_factory=Schedule)

    def __post_init__(self):
        by_name = {t.name: t for t in self.teachers}
        if len(by_name) < len(self.teachers):
            raise SettingError('teachers', 'two have the same name; rename one')
        lessons = {f'teachers.{i}.lesson': t.lesson for i, t in enumerate(self.teachers)}
        lessons['lesson'] = self.lesson
        for key, lesson in lessons.items():
            if unknown := [name for name in lesson.teachers if name not in by_name]:
                names = ', '.join(by_name) or 'none'
                text = f'no teacher is named {unknown[0]}; the teachers are {names}'
                raise SettingError(f'{key}.teachers', text)
        for name in by_name:
            _check_order(by_name, name)
        for i, (_, size) in enumerate(self.schedule.sizes):
            if size > (full := self.student.image_size):
                text = f'{size} pixels are more than the {full} of the student; make it smaller'
                raise SettingError(f'schedule.sizes.{i}', text)
        _check_guidance('lesson', self.lesson, by_name, self.student.maps)
        _check_local('lesson', self.lesson, bool(self.student.local))
        for i, teacher in enumerate(self.teachers):
            if teacher.schedule.sizes:
                key, text = f'teachers.{i}.schedule.sizes', 'is for students alone; remove it'
                raise SettingError(key, text)
            if teacher.apformer is not None:
                key = f'teachers.{i}.lesson'
                _check_guidance(key, teacher.lesson, by_name, teacher.apformer.maps)
                _check_local(key, teacher.lesson, False)


def _check_order(by_name: dict[str, TeacherConfig], name: str, above: tuple[str, ...] = ()):
    """SettingError where teachers teach each other in a circle: none could be made first."""
    if name in above:
        circle = ' taught by '.join([*above[above.index(name) :], name])
        key = f'teachers.{list(by_name).index(name)}.lesson.teachers'
        raise SettingError(key, f'{circle} is a circle; remove one of them from a lesson')
    for other in by_name[name].lesson.teachers:
        _check_order(by_name, other, (*above, name))


def _check_guidance(key: str, lesson: Lesson, by_name: dict[str, TeacherConfig], maps: int):
    """SettingError for guidance by levels without teachers that have levels, or with other maps.

    `key`: where the lesson stands; `maps`: number of salient maps of the network that learns.
    """
    theirs = {n: by_name[n].apformer.maps for n in lesson.teachers if by_name[n].apformer}
    for name in ('levels', 'salient'):
        if getattr(lesson, name) and not theirs:
            text = 'needs an APFormer among the teachers; add one or set it to 0'
            raise SettingError(f'{key}.{name}', text)
    for name, count in theirs.items():
        if lesson.salient and count != maps:
            raise SettingError(
                f'{key}.salient',
                f'{maps} maps cannot learn from the {count} of teacher {name}; make `maps` the '
                'same',
            )


def _check_local(key: str, lesson: Lesson, has_local: bool):
    """SettingError for guidance of positions where the network that learns has none."""
    for name in ('match', 'vote', 'maps'):
        if getattr(lesson, name) and not has_local:
            raise SettingError(
                f'{key}.{name}', 'needs a student with `local` features; set it to 0'
            )


def read_config(path: Path) -> TrainConfig:
    """The settings in a file; what it leaves out comes from the file that its `base` names.

    VprError where a file is missing or is not YAML; for a wrong value or key it names the key.
    """
    return checked(TrainConfig, load_settings(Path(path)), Path(path))


@dataclass(config=_STRICT)
class _Sources:
    sources: tuple[Source, ...]


def read_sources(values: Any, file: Path) -> tuple[Source, ...]:
    """The `sources` of a run whose settings stand in `file`; VprError names a wrong one."""
    return checked(_Sources, {'sources': values}, file).sources


def as_plain(config: Any) -> dict:
    """Settings as plain mappings, lists, texts and numbers, which YAML can hold."""
    return TypeAdapter(type(config)).dump_python(config, mode='json')

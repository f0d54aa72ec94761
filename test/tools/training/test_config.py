# SPDX-License-Identifier: Apache-2.0
"""Training settings: what is shipped reads, what is wrong is one line that names the key."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from conftest import line_of
from small_student import small_student, torch

from ashtkd_ros.errors import VprError
from tools.training.config import (
    TEACHER_LOSSES,
    FoldersSource,
    Schedule,
    as_plain,
    read_config,
    read_sources,
)
from tools.training.networks.student import DSFormer, StudentConfig

LEAST = {'out': 'runs/x', 'views_folder': 'runs/views', 'sources': []}


def refused(folder: Path, values: object) -> str:
    """The line that refuses these settings, written to c.yaml."""
    path = folder / 'c.yaml'
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(VprError) as error:
        read_config(path)
    return line_of(error)


def test_shipped_configs_are_read_and_come_back_whole(root: Path, tmp_path: Path):
    files = sorted((root / 'config' / 'train').glob('*.yaml'))
    assert files
    for file in files:
        config = read_config(file)
        again = tmp_path / file.name
        again.write_text(yaml.safe_dump(as_plain(config)))
        assert read_config(again) == config


@pytest.mark.parametrize(
    ('values', 'expected'),
    [
        ({**LEAST, 'lerning': 1}, 'lerning: '),
        ({**LEAST, 'schedule': {'stepps': 1}}, 'schedule.stepps: '),
        ({**LEAST, 'student': {'maps': 'many'}}, 'student.maps: '),
        ({**LEAST, 'student': {'mapps': 3}}, 'student.mapps: '),
        ({**LEAST, 'student': {'dimensions': 16}}, 'student.combined: 320, but both halves have'),
        ({**LEAST, 'student': {'local': 0}, 'lesson': {'match': 1.0}}, 'lesson.match: needs a'),
        ({**LEAST, 'lesson': {'metric': 0.0}}, 'lesson.metric: every loss has the weight 0'),
        ({**LEAST, 'lesson': {'adaptive': 'guess'}}, 'lesson.adaptive: '),
        ({**LEAST, 'schedule': {'learning_rate': float('nan')}}, 'schedule.learning_rate: '),
        (
            {**LEAST, 'lesson': {'teachers': ['x']}},
            'c.yaml: lesson.teachers: no teacher is named x',
        ),
        (
            {**LEAST, 'lesson': {'soft': 1.0}},
            'lesson.teachers: is empty, but these losses need teachers: soft;',
        ),
        ({**LEAST, 'lesson': {'metric': 0.0}}, 'lesson.metric: every loss has the weight 0'),
        ({**LEAST, 'views_of_picture': 0}, 'views_of_picture: '),
        ({'out': 'x'}, 'views_folder: '),
        ([1], 'settings: '),
    ],
)
def test_a_wrong_value_or_key_is_named(tmp_path: Path, values, expected: str):
    assert expected in refused(tmp_path, values)


@pytest.mark.parametrize(
    ('part', 'key', 'wrong'),
    [
        *(('schedule', key, 0) for key in ('steps', 'places', 'checkpoint_steps', 'warm_up')),
        *(('schedule', key, 0) for key in ('learning_rate', 'pretrained_rate')),
        *(('schedule', key, -0.1) for key in ('weight_decay', 'clean_query', 'clean_database')),
        *(('schedule', key, 1.1) for key in ('warm_up', 'clean_query', 'clean_database')),
        ('schedule', 'views', 1),
        ('schedule', 'average', 1.0),
        ('schedule', 'average', -0.1),
        ('schedule', 'frozen', 3),
        ('schedule', 'frozen', -1),
        ('schedule', 'seed', -1),
        *(('lesson', key, -1) for key in (*TEACHER_LOSSES, 'ranking', 'metric')),
        *(('lesson', key, 0) for key in ('tau', 'tau_t', 'tau_w', 'top', 'hidden')),
        *(('student', key, 0) for key in ('image_size', 'dimensions', 'head_channels', 'maps')),
    ],
)
def test_a_number_out_of_range_is_named(tmp_path: Path, part: str, key: str, wrong: float):
    assert f'c.yaml: {part}.{key}: ' in refused(tmp_path, {**LEAST, part: {key: wrong}})


@pytest.mark.parametrize(
    ('student', 'expected'),
    [
        ({'image_size': 120}, 'student.image_size: 120, must be a multiple of 16 from 16 on'),
        (
            {'image_size': 16, 'vit_widths': [32, 32], 'vit_depths': [1, 1]},
            'image_size: 16, must be a multiple of 16 from 32 on',
        ),
        ({'vit_widths': [32, 32]}, 'vit_depths: 1 for 2 vit_widths'),
        ({'vit_widths': [100]}, 'vit_widths: must be multiples of head_channels 32'),
    ],
)
def test_a_student_that_cannot_be_built_is_refused(tmp_path: Path, student, expected: str):
    assert expected in refused(tmp_path, {**LEAST, 'student': student})


@pytest.mark.parametrize('size', [32, 48, 112])
def test_a_student_that_is_not_refused_can_be_built(size: int):
    config = StudentConfig(
        image_size=size, vit_widths=(32, 32), vit_depths=(1, 1), head_channels=16
    )
    assert DSFormer(config)(torch.zeros(1, 3, size, size)).shape == (1, 320)


def test_a_student_cut_to_pixels_that_do_not_fit_is_one_line():
    with pytest.raises(VprError) as error:
        small_student().smaller(4, 40)
    assert 'no student of 4 levels: image_size: 40' in line_of(error)


SETS, WALKS = {'kind': 'sets', 'path': 'x'}, {'kind': 'walks', 'paths': ['x']}
TRUNK = {'name': 'trunk', 'trunk': 't.onnx'}
GSV = {'kind': 'gsv', 'path': 'x.csv', 'images': 'x'}


@pytest.mark.parametrize(
    ('source', 'expected'),
    [
        ({'kind': 'video', 'path': 'x'}, '0: there is no kind "video"; the kinds are'),
        ({'kind': ['sets'], 'path': 'x'}, '0: there is no kind "'),
        ({'path': 'x'}, '0: has no `kind`; add one'),
        ('sets', '0: '),
        ({'kind': 'sets'}, '0.sets.path: is missing; add it'),
        ({'kind': 'gsv', 'path': 'x.csv'}, '0.gsv.images: is missing'),
        ({**SETS, 'size': 3}, '0.sets.size: there is no such setting'),
        ({**SETS, 'spacing': 3}, '0.sets.spacing: there is no such setting'),
        ({**SETS, 'path': 3}, '0.sets.path: '),
        ({**SETS, 'path': ''}, '0.sets.path: must be a path, not an empty text'),
        ({**SETS, 'path': ['x', 'y']}, '0.sets.path: '),
        ({**SETS, 'positives': ['s']}, '0.sets.positives: '),
        ({**SETS, 'positives': {'s': 'near'}}, "positives.s: must be 'neighbours', "),
        ({**SETS, 'positives': {'': 'place'}}, '0.sets.positives.'),
        ({**SETS, 'only': ['a', 'b', 'a']}, '0.sets.only: a is given twice'),
        ({**WALKS, 'paths': ['a', 'a']}, '0.walks.paths: a is given twice'),
        ({**SETS, 'only': 's'}, '0.sets.only: '),
        ({**SETS, 'only': []}, '0.sets.only: '),
        ({**SETS, 'only': [3]}, '0.sets.only.0: '),
        ({**WALKS, 'paths': []}, '0.walks.paths: '),
        ({**WALKS, 'paths': 'x'}, '0.walks.paths: '),
        ({**WALKS, 'paths': [None]}, '0.walks.paths.0: '),
        ({**WALKS, 'radius': 1}, '0.walks.radius: there is no such setting'),
    ],
)
def test_a_wrong_source_is_named(tmp_path: Path, source, expected: str):
    line = refused(tmp_path, {**LEAST, 'sources': [source]})
    assert 'c.yaml: sources.0' in line and expected in line


@pytest.mark.parametrize('wrong', [0, -1, 'many', True, None, [1], float('nan'), float('inf')])
@pytest.mark.parametrize(
    ('source', 'key'),
    [(SETS, 'radius'), (SETS, 'weight'), (GSV, 'weight')]
    + [(WALKS, key) for key in ('spacing', 'metres', 'degrees', 'weight')],
)
def test_a_number_of_a_source_must_be_finite_and_above_0(tmp_path: Path, source, key, wrong):
    values = {**LEAST, 'sources': [SETS, {**source, key: wrong}]}
    if wrong is None and key == 'weight':
        (tmp_path / 'c.yaml').write_text(yaml.safe_dump(values))
        assert read_config(tmp_path / 'c.yaml').sources[1].weight is None
    else:
        assert f'c.yaml: sources.1.{source["kind"]}.{key}: ' in refused(tmp_path, values)


def test_the_sources_of_a_run_are_checked_as_those_of_a_settings_file(tmp_path: Path):
    assert read_sources([WALKS], tmp_path)[0].paths == (Path('x'),)
    for wrong in ([{**WALKS, 'spacing': 0}], WALKS, 'x', None, 3):
        with pytest.raises(VprError) as error:
            read_sources(wrong, tmp_path / 'config.yaml')
        assert line_of(error).startswith(f'{tmp_path}/config.yaml: sources')


@pytest.mark.parametrize('key', ['steps', 'places', 'views', 'seed', 'learning_rate', 'warm_up'])
@pytest.mark.parametrize('wrong', [True, 'many', [1], {}, None, float('nan'), float('-inf')])
def test_a_number_of_the_schedule_that_is_not_one_is_named(tmp_path: Path, key: str, wrong):
    line = refused(tmp_path, {**LEAST, 'schedule': {key: wrong}})
    assert f'c.yaml: schedule.{key}: ' in line


@pytest.mark.parametrize(
    ('sizes', 'expected'),
    [
        ([[0.5, 32], [0.4, 64]], 'schedule.sizes: their shares make 0.9; they must make 1'),
        ([[1.0, 40]], 'schedule.sizes.0.1: must be a multiple of 16'),
        ([[1.5, 32], [-0.5, 32]], 'schedule.sizes.1.0: must be above 0'),
        ([[0.5, 112], [0.5, 240]], 'schedule.sizes.1: 240 pixels are more than the 224'),
        ([[1.0]], 'schedule.sizes.0'),
        ([0.5, 32], 'schedule.sizes.0'),
    ],
)
def test_sizes_that_cannot_be_are_refused(tmp_path: Path, sizes: list, expected: str):
    assert expected in refused(tmp_path, {**LEAST, 'schedule': {'sizes': sizes}})


def test_sizes_of_a_teacher_are_refused(tmp_path: Path):
    teacher = {**TRUNK, 'schedule': {'sizes': [[1.0, 112]]}}
    line = refused(tmp_path, {**LEAST, 'teachers': [teacher]})
    assert 'teachers.0.schedule.sizes: is for students alone' in line


def test_images_grow_as_the_schedule_says():
    sizes = ((0.4, 112), (0.3, 160), (0.3, 224))
    for steps in (10, 7, 3):
        schedule = Schedule(steps=steps, sizes=sizes)
        drawn = [schedule.size_at(step, 224) for step in range(steps)]
        assert drawn == sorted(drawn) and set(drawn) == {112, 160, 224}
    assert [drawn.count(s) for s in (112, 160, 224)] == [1, 1, 1]
    assert Schedule(steps=10, sizes=sizes).size_at(3, 224) == 112
    assert Schedule(steps=10, sizes=sizes).size_at(4, 224) == 160
    assert Schedule().size_at(0, 64) == 64


@pytest.mark.parametrize('key', ['out', 'views_folder', 'start'])
@pytest.mark.parametrize('wrong', ['', 3, ['x'], True, '\0'])
def test_a_path_that_is_not_one_is_named(tmp_path: Path, key: str, wrong):
    assert f'c.yaml: {key}: ' in refused(tmp_path, {**LEAST, key: wrong})


@pytest.mark.parametrize('name', ['', '.', '..', '../other', 'a/b', 3, None])
def test_a_teacher_is_named_as_a_folder_can_be(tmp_path: Path, name):
    values = {**LEAST, 'teachers': [{**TRUNK, 'name': name}]}
    assert 'c.yaml: teachers.0.name: ' in refused(tmp_path, values)


@pytest.mark.parametrize('base', ['', None, ['x.yaml'], 3, {}])
def test_a_base_that_is_no_path_is_named(tmp_path: Path, base):
    assert 'c.yaml: base: must be the path' in refused(tmp_path, {**LEAST, 'base': base})


def test_a_file_that_is_nested_without_end_is_one_line(tmp_path: Path):
    (tmp_path / 'c.yaml').write_text('{' * 3000)
    with pytest.raises(VprError) as error:
        read_config(tmp_path / 'c.yaml')
    assert 'c.yaml: is nested too deeply' in line_of(error)


def test_a_learning_rate_as_yaml_reads_it_without_a_point_is_a_number(tmp_path: Path):
    (tmp_path / 'c.yaml').write_text(yaml.safe_dump(LEAST) + 'schedule: {learning_rate: 1e-3}\n')
    assert read_config(tmp_path / 'c.yaml').schedule.learning_rate == 1e-3


def up(name: str, *teachers: str, apformer: dict | None = None, **losses: float) -> dict:
    """An APFormer taught by others."""
    lesson = {'teachers': list(teachers), **losses}
    return {'name': name, 'trunk': 't.onnx', 'apformer': apformer or {}, 'lesson': lesson}


@pytest.mark.parametrize(
    ('teachers', 'lesson', 'expected'),
    [
        ([up('a', 'a', soft=1.0)], {}, 'a taught by a is a circle'),
        (
            [up('a', 'b', soft=1.0), up('b', 'c', soft=1.0), up('c', 'b', soft=1.0)],
            {},
            'teachers.1.lesson.teachers: b taught by c taught by b is a circle',
        ),
        (
            [TRUNK, up('a', apformer={'maps': 3})],
            {'teachers': ['trunk', 'a'], 'salient': 1.0},
            'c.yaml: lesson.salient: 5 maps cannot learn from the 3 of teacher a',
        ),
        (
            [up('a'), up('b', 'a', apformer={'maps': 3}, salient=1.0)],
            {},
            'c.yaml: teachers.1.lesson.salient: 3 maps cannot learn from the 5 of teacher a',
        ),
        ([TRUNK], {'teachers': ['trunk'], 'levels': 1.0}, 'lesson.levels: needs an APFormer'),
        ([TRUNK, up('a', 'trunk', maps=1.0)], {}, 'teachers.1.lesson.maps: needs a student with'),
        ([up('a', match=1.0)], {}, 'teachers.0.lesson.match: needs a student with `local`'),
        ([up('a', apformer={'widths': [160, 250]})], {}, 'widths: must be multiples of head_chan'),
        ([up('a', apformer={'maps': 0})], {}, 'teachers.0.apformer.maps: '),
        ([TRUNK, TRUNK], {}, 'teachers: two have the same name'),
    ],
)
def test_teachers_that_cannot_teach_are_refused(tmp_path: Path, teachers, lesson, expected: str):
    assert expected in refused(tmp_path, {**LEAST, 'teachers': teachers, 'lesson': lesson})


def test_other_maps_are_no_hindrance_to_the_rest_of_a_lesson(tmp_path: Path):
    teachers, lesson = [TRUNK, up('a', apformer={'maps': 3})], {'teachers': ['a'], 'levels': 1.0}
    path = tmp_path / 'c.yaml'
    path.write_text(yaml.safe_dump({**LEAST, 'teachers': teachers, 'lesson': lesson}))
    assert read_config(path).lesson.levels == 1.0


def test_a_base_that_leads_back_is_one_line(tmp_path: Path):
    for name, base in (('self', 'self'), ('a', 'b'), ('b', 'a')):
        (tmp_path / f'{name}.yaml').write_text(f'base: {base}.yaml')
    for name, back in (('self', 'self'), ('a', 'a')):
        with pytest.raises(VprError) as error:
            read_config(tmp_path / f'{name}.yaml')
        assert f'{name}.yaml: base: leads back to {back}.yaml' in line_of(error)


def test_a_file_adds_to_its_base_and_changes_it(tmp_path: Path):
    sources = [[{'kind': 'folders', 'path': name}] for name in 'ab']
    base = {**LEAST, 'lesson': {'tau': 2.0, 'metric': 3.0}, 'sources': sources[0]}
    (tmp_path / 'base.yaml').write_text(yaml.safe_dump(base))
    changes = {'base': 'base.yaml', 'lesson': {'metric': 4.0}, 'sources': sources[1]}
    (tmp_path / 'c.yaml').write_text(yaml.safe_dump(changes))
    config = read_config(tmp_path / 'c.yaml')
    assert (config.lesson.tau, config.lesson.metric) == (2.0, 4.0)
    assert config.sources == (FoldersSource('folders', Path('b')),)
    (tmp_path / 'base.yaml').unlink()
    with pytest.raises(VprError) as error:
        read_config(tmp_path / 'c.yaml')
    assert f'c.yaml: base: {tmp_path}/base.yaml: cannot be read' in line_of(error)


def test_a_file_that_is_none_is_one_line(tmp_path: Path):
    (tmp_path / 'c.yaml').write_text('a: [')
    for path, expected in ((tmp_path / 'c.yaml', 'is not YAML'), (tmp_path / 'gone', 'be read')):
        with pytest.raises(VprError) as error:
            read_config(path)
        assert expected in line_of(error)

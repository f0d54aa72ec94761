# SPDX-License-Identifier: Apache-2.0
"""The curve of sizes: what is written, what its table says, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import line_of
from small_student import SMALL_WITH_LOCAL, small_student, torch  # noqa: F401  skips where it is missing

from ashtkd_ros.errors import VprError
from ashtkd_ros.network.embedder import Embedder
from tools.training.studies import tradeoff
from tools.training.studies.tradeoff import Point, Size


def test_every_size_is_written_with_its_parameters_and_macs(tmp_path: Path, views, monkeypatch):
    monkeypatch.setattr(tradeoff, 'load_student', lambda _: (small_student(), views))
    written = tradeoff.write_sizes(
        tmp_path, [Size(2, 64), Size(4, 64), Size(4, 96)], tmp_path / 'out'
    )
    assert [path.stem for path in written] == ['2_levels_64', '4_levels_64', '4_levels_96']
    (low, low_macs), (high, high_macs), (_, large_macs) = written.values()
    assert low < high and low_macs < high_macs < large_macs
    for path, pixels in zip(written, (64, 64, 96), strict=True):
        embedder = Embedder(path)
        assert embedder.preprocessing.size == (pixels, pixels) and embedder.dimensions == 16
    for bad in ((1, 64), (5, 64), (3, 70)):
        with pytest.raises(VprError) as error:
            tradeoff.write_sizes(tmp_path, [Size(*bad)], tmp_path / 'out')
        assert f'{bad[0]} levels of {bad[1]} pixels: must be 2 to 4' in line_of(error)
    for bad in ((4, 64, 2), (4, 64, -1), (2, 64, 1)):
        with pytest.raises(VprError) as error:
            tradeoff.write_sizes(tmp_path, [Size(*bad)], tmp_path / 'out')
        assert f'{bad[2]} blocks of {bad[0]} levels: must be 1 to 1' in line_of(error)


def test_results_that_cannot_be_written_are_told_before_the_work(
    tmp_path: Path, monkeypatch, views
):
    monkeypatch.setattr(tradeoff, 'validation_sets', lambda _: [])
    monkeypatch.setattr(tradeoff, 'load_student', lambda _: (small_student(), views))
    for work in ('finish', 'points'):
        monkeypatch.setattr(tradeoff, work, lambda *_: pytest.fail('began'))
    for name in ('tradeoff.md', 'tradeoff.png', '4_levels_64.onnx'):
        out = tmp_path / name.partition('.')[2]
        out.mkdir()
        (out / name).write_text('mine')
        with pytest.raises(VprError) as error:
            tradeoff.main(['run', '--data', 'data', '-o', str(out)])
        assert f'{name}: exists' in line_of(error) and (out / name).read_text() == 'mine'


def test_what_is_written_is_replaced_by_another_run(tmp_path: Path, monkeypatch, views, capsys):
    networks = [Point('ours', 6.0, 2.5, 0.4, {'a': (80.0, 90.0)})]
    monkeypatch.setattr(tradeoff, 'validation_sets', lambda _: [])
    monkeypatch.setattr(tradeoff, 'load_student', lambda _: (small_student(), views))
    monkeypatch.setattr(tradeoff, 'points', lambda *_: networks)
    for _ in range(2):
        arguments = ['run', '--data', 'data', '--sizes', '2x32', '-o', str(tmp_path / 'out')]
        assert tradeoff.main(arguments) == 0
    assert '| ours |' in (tmp_path / 'out' / 'tradeoff.md').read_text()


def test_the_usual_sizes_are_of_levels_that_the_run_has(tmp_path: Path, views, monkeypatch):
    smaller = [(2, 224), (3, 128), (3, 160), (3, 192), (3, 224)]
    assert tradeoff.usual_sizes(3, 224, 1) == [(*size, 0) for size in smaller]
    assert tradeoff.usual_sizes(3, 224, 3)[-3:] == [(3, 224, 0), (3, 224, 1), (3, 224, 2)]
    assert tradeoff.usual_sizes(2, 224, 0) == [(2, n, 0) for n in (128, 160, 192, 224)]
    assert Size(3, 224, 2).name == '3_levels_224_2_blocks' and Size(3, 224).name == '3_levels_224'
    monkeypatch.setattr(tradeoff, 'load_student', lambda _: (small_student(), views))
    written = tradeoff.write_sizes(tmp_path, None, tmp_path / 'out')
    assert [path.stem for path in written] == [
        '2_levels_64', '3_levels_32', '3_levels_64', '4_levels_64'
    ]  # fmt: skip


def test_three_sizes_are_verified_on_a_set(tmp_path: Path, pictures, views, monkeypatch):
    folder = tmp_path / 'val' / 'plain'
    folder.mkdir(parents=True)
    rows = [f'{p},{n},{r},' for n, p in enumerate(pictures[:30:3]) for r in ('database', 'query')]
    (folder / 'index.csv').write_text('\n'.join(['file,place,role,order', *rows]) + '\n')
    network = small_student(config=SMALL_WITH_LOCAL)
    monkeypatch.setattr(tradeoff, 'load_student', lambda _: (network, views))
    sizes = [Size(*s) for s in ((2, 64), (3, 32), (3, 64), (4, 64))]
    students = tradeoff.write_sizes(tmp_path, sizes, tmp_path / 'out')
    found = {p.name: p.recall['plain'] for p in tradeoff.points(students, [], [folder], 2)}
    assert {name: len(recall) for name, recall in found.items()} == {
        '2_levels_64': 1, '3_levels_32': 2, '3_levels_64': 2, '4_levels_64': 2
    }  # fmt: skip
    # The query is the picture of the map, and pictures of three numbers are told apart.
    assert found['4_levels_64'] == (100.0, 100.0)
    tradeoff.picture(
        [Point(n, 1.0, 1, 1, {'plain': r}) for n, r in found.items()], tmp_path / 'a.png'
    )


def test_the_table_is_sorted_by_time_and_relative_to_the_slowest():
    found = [
        Point('teacher', 60.0),
        Point('ours', 6.0, 2.5, 0.4, {'a': (80.0, 82.0), 'b': (60.0, 66.0)}),
        Point('low', 3.0, 1.5, 0.2, {'a': (50.0,), 'b': (40.0,)}),
    ]
    lines = tradeoff.table(found).splitlines()
    assert lines[2] == '| low | 3.0 (20.0x) | 1.50 | 0.200 | 50.0 | 40.0 | 45.0 |'
    row = '| ours | 6.0 (10.0x) | 2.50 | 0.400 | 80.0 / 82.0 | 60.0 / 66.0 | 70.0 / 74.0 |'
    assert lines[3] == row
    assert lines[4] == '| teacher | 60.0 (1.0x) |  |  |  |  |  |'


def test_sizes_that_are_none_are_one_line():
    with pytest.raises(VprError) as error:
        tradeoff.main(['run', '--data', 'data', '--sizes', '3-224'])
    assert '--sizes 3-224: write each size as levels x pixels' in line_of(error)

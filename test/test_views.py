# SPDX-License-Identifier: Apache-2.0
"""Fixed views of training images: damaged ones skipped, interrupted runs go on."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import line_of
from small_student import torch

from ashtkd_ros.errors import VprError
from tools.views import list_images, load_views, make_views


class FakeTeacher:
    """Feature map = the picture itself, 2 x 2."""

    def __init__(self, *_):
        pass

    def feature_map(self, images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(images, 2)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two sets of three photos, one of them damaged; the teacher is a stand-in."""
    monkeypatch.setattr('tools.views.FrozenTeacher', FakeTeacher)
    for name in ('b', 'a'):
        folder = tmp_path / 'data' / name
        folder.mkdir(parents=True)
        (folder / 'index.csv').write_text(
            'file,place,role,order\n' + ''.join(f'{i}.jpg,,,{i}\n' for i in range(3))
        )
        for i in range(3):
            cv2.imwrite(str(folder / f'{i}.jpg'), np.full((40, 50, 3), 60 * i, np.uint8))
    (tmp_path / 'data' / 'b' / '1.jpg').write_bytes(b'damaged')
    return tmp_path / 'data'


def test_damaged_images_are_skipped_and_named(photos: Path, tmp_path: Path, capsys):
    assert make_views(photos, Path('teacher.onnx'), tmp_path / 'v', views=2, size=32) == 12
    assert capsys.readouterr().out.count(f'skipped: {photos / "b" / "1.jpg"}: not a readable') == 2
    views = load_views(tmp_path / 'v')
    assert len(views.jpegs) == 10 and views.teacher.shape == (10, 15)
    assert views.teacher.dtype == np.float16 and views.whole.tolist() == [True] * 5 + [False] * 5
    shapes = {cv2.imdecode(j, cv2.IMREAD_COLOR).shape for j in views.jpegs}
    assert shapes == {(32, 32, 3)}


def test_views_go_on_where_they_stopped_and_are_the_same(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr('tools.views.SHARD', 4)
    for name in ('whole', 'cut'):
        make_views(photos, Path('t.onnx'), tmp_path / name, views=2, size=32)
    (tmp_path / 'cut' / '0001.npz').unlink()
    kept = (tmp_path / 'cut' / '0000.npz').stat().st_mtime_ns
    make_views(photos, Path('t.onnx'), tmp_path / 'cut', views=2, size=32)
    assert (tmp_path / 'cut' / '0000.npz').stat().st_mtime_ns == kept
    a, b = (load_views(tmp_path / name) for name in ('whole', 'cut'))
    assert [j.tobytes() for j in a.jpegs] == [j.tobytes() for j in b.jpegs]
    np.testing.assert_array_equal(a.teacher, b.teacher)


def test_sets_are_listed_in_order_of_name(photos: Path):
    names = [path.relative_to(photos).as_posix() for path in list_images(photos)]
    assert names == [f'{s}/{i}.jpg' for s in 'ab' for i in range(3)]


def test_bad_data_and_views_are_one_line(photos: Path, tmp_path: Path):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(VprError) as error:
        list_images(tmp_path / 'empty')
    assert 'no folder with an index.csv' in line_of(error)
    with pytest.raises(VprError) as error:
        load_views(tmp_path / 'empty')
    assert 'holds no views' in line_of(error)
    (tmp_path / 'empty' / '0000.npz').write_bytes(b'PK\x03\x04 cut')
    with pytest.raises(VprError) as error:
        load_views(tmp_path / 'empty')
    assert '0000.npz: is damaged' in line_of(error)
    for path in photos.glob('*/*.jpg'):
        path.write_bytes(b'damaged')
    with pytest.raises(VprError) as error:
        make_views(photos, Path('t.onnx'), tmp_path / 'v', views=1, size=32)
    assert 'none of the 6 images' in line_of(error)

# SPDX-License-Identifier: Apache-2.0
"""Fixed views of training pictures: damaged ones left out, only what is missing is made."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import training_packages  # noqa: F401  skips where one of them is missing
from conftest import line_of

from ashtkd_ros.errors import VprError
from ashtkd_ros.images.image_file import read_image
from ashtkd_ros.images.synthetic_change import UNIT, warped
from tools.training.data.views import Views, load_arrays, save_arrays, view_corners


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('tools.training.data.views.SHARD', 4)


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Six photos, the second damaged."""
    paths = [tmp_path / f'{i}.png' for i in range(6)]
    for i, path in enumerate(paths):
        cv2.imwrite(str(path), np.full((40, 50, 3), 40 * i, np.uint8))
    paths[1].write_bytes(b'damaged')
    return paths


def test_damaged_pictures_are_left_out(photos, tmp_path: Path):
    views = Views(tmp_path / 'v', size=32)
    views.add(photos, 2)
    assert views.unreadable == {str(photos[1])}
    assert set(views.rows) == {(str(p), v) for p in photos if p != photos[1] for v in (0, 1)}
    assert views.image(3).shape == (32, 32, 3)
    row = views.rows[str(photos[5]), 0]
    assert abs(int(views.image(row).mean()) - 200) <= 2


def test_what_is_there_is_kept_and_what_is_new_is_added(photos, tmp_path: Path):
    views = Views(tmp_path / 'v', size=32)
    views.add(photos[:4], 2)
    before = [j.tobytes() for j in views.jpegs]
    corners = np.stack(views.corners)
    assert len(before) == 6
    again = Views(tmp_path / 'v', size=32)
    again.add(photos, 2)
    assert [j.tobytes() for j in again.jpegs[: len(before)]] == before
    np.testing.assert_array_equal(np.stack(again.corners)[: len(before)], corners)
    assert len(again.jpegs) == len(again.corners) == 10
    assert [row for rows in again.shards.values() for row in rows] == list(range(10))


def test_a_fixed_view_is_the_picture_between_its_corners(photos, tmp_path: Path):
    random = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    cv2.imwrite(str(photos[0]), random)
    views = Views(tmp_path / 'v', size=32, seed=3)
    views.add(photos[:1], 4)
    path = str(photos[0])
    for view in range(4):
        row, corners = views.rows[path, view], view_corners(3, path, view)
        assert views.seen(row).picture == path
        np.testing.assert_array_equal(views.seen(row).corners, corners)
        expected = warped(views.picture(photos[0]), corners, 32)
        np.testing.assert_array_equal(views.image(row), expected)
    np.testing.assert_array_equal(views.corners[views.rows[path, 0]], UNIT)
    assert len({views.image(row).tobytes() for row in range(4)}) == 4


def test_views_that_are_added_later_are_of_the_same_pictures(photos, tmp_path: Path):
    Views(tmp_path / 'v', size=32).add(photos, 1)
    later = Views(tmp_path / 'v', size=32)
    later.add(photos, 3)
    assert set(later.rows) == {(str(p), v) for p in photos if p != photos[1] for v in range(3)}
    for (path, _), row in later.rows.items():
        assert later.jpegs[row] is later.jpegs[later.rows[path, 0]]


def test_photos_are_kept_and_large_ones_reduced(tmp_path: Path):
    coarse = np.random.default_rng(0).integers(0, 256, (20, 25, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (250, 200), interpolation=cv2.INTER_CUBIC)
    small, large = tmp_path / 'small.jpg', tmp_path / 'large.jpg'
    cv2.imwrite(str(small), image)
    cv2.imwrite(str(large), cv2.resize(image, (800, 600)))
    views = Views(tmp_path / 'v')
    views.add([small, large], 2)
    kept = views.picture(small).astype(float)
    assert np.abs(kept - read_image(small)).mean() < 2
    assert views.picture(large).shape == (256, 341, 3)
    small.unlink()
    np.testing.assert_array_equal(
        Views(tmp_path / 'v').picture(small), kept
    )  # a picture may go: it is kept


def test_an_interrupted_run_ends_as_an_uninterrupted_one(photos, tmp_path: Path, monkeypatch):
    whole = Views(tmp_path / 'whole', size=32)
    whole.add(photos, 2)
    cut = Views(tmp_path / 'cut', size=32)
    write = Views._write

    def interrupted(self, shard, keys):
        if shard.name == '0001.npz':
            raise KeyboardInterrupt
        write(self, shard, keys)

    monkeypatch.setattr(Views, '_write', interrupted)
    with pytest.raises(KeyboardInterrupt):
        cut.add(photos, 2)
    monkeypatch.undo()
    cut = Views(tmp_path / 'cut', size=32)
    cut.add(photos, 2)
    assert cut.rows.keys() == whole.rows.keys()
    for key, row in whole.rows.items():
        np.testing.assert_array_equal(cut.image(cut.rows[key]), whole.image(row))


def test_damaged_shards_and_other_sizes_are_one_line(photos, tmp_path: Path):
    views = Views(tmp_path / 'v', size=32)
    views.add(photos, 1)
    with pytest.raises(VprError) as error:
        Views(tmp_path / 'v', size=64)
    assert 'another size' in line_of(error)
    file = tmp_path / 'v' / '0000.npz'
    arrays = load_arrays(file)
    save_arrays(file, **{name: x for name, x in arrays.items() if name != 'corners'})
    with pytest.raises(VprError) as error:
        Views(tmp_path / 'v', size=32)
    assert 'of another version' in line_of(error)
    (tmp_path / 'v' / '0000.npz').write_bytes(b'PK\x03\x04 cut')
    with pytest.raises(VprError) as error:
        Views(tmp_path / 'v', size=32)
    assert '0000.npz: is damaged; remove the folder' in line_of(error)


def test_a_lost_shard_is_told_and_no_other_one_is_written_over(photos, tmp_path: Path):
    views = Views(tmp_path / 'v', size=32)
    views.add(photos, 1)
    views.add(photos, 2)
    (tmp_path / 'v' / '0000.npz').unlink()
    with pytest.raises(VprError) as error:
        Views(tmp_path / 'v', size=32)
    assert '0000.npz: is missing; remove the folder' in line_of(error)

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
from tools.training.data.views import Views


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
    assert len(before) == 6
    again = Views(tmp_path / 'v', size=32)
    again.add(photos, 2)
    assert [j.tobytes() for j in again.jpegs[: len(before)]] == before
    assert len(again.jpegs) == 10
    assert [row for rows in again.shards.values() for row in rows] == list(range(10))


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
        assert cut.jpegs[cut.rows[key]].tobytes() == whole.jpegs[row].tobytes()


def test_damaged_shards_and_other_sizes_are_one_line(photos, tmp_path: Path):
    views = Views(tmp_path / 'v', size=32)
    views.add(photos, 1)
    with pytest.raises(VprError) as error:
        Views(tmp_path / 'v', size=64)
    assert 'another size' in line_of(error)
    (tmp_path / 'v' / '0000.npz').write_bytes(b'PK\x03\x04 cut')
    with pytest.raises(VprError) as error:
        Views(tmp_path / 'v', size=32)
    assert '0000.npz: is damaged' in line_of(error)

# SPDX-License-Identifier: Apache-2.0
"""Image → descriptor: preprocessing against a plain reference, batches, models refused."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import TINY_PREPROCESSING, line_of, write_tiny_model

from ashtkd_ros.errors import VprError
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.traverses.image_folder import read_source


@pytest.fixture(scope='module')
def network(student: Path) -> Embedder:
    return Embedder(student, num_threads=1)


@pytest.fixture
def tiny(tmp_path: Path) -> Embedder:
    return Embedder(write_tiny_model(tmp_path / 'tiny.onnx'), num_threads=1)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A smooth random picture, uint8 (height, width, 3)."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def plain_preprocessing(rgb: np.ndarray, expected: dict) -> np.ndarray:
    """The reference: resize, / 255, - mean, / std, channels first; float64."""
    height, width = expected['size']
    pixels = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA) / 255.0
    pixels = (pixels - expected['mean']) / expected['std']
    if expected['colour_order'] == 'BGR':
        pixels = pixels[..., ::-1]
    return pixels.transpose(2, 0, 1)


@pytest.mark.parametrize('shape', [(48, 64), (6, 8), (3, 4)], ids=['shrink', 'same', 'enlarge'])
def test_preprocessing_is_the_plain_one(tiny: Embedder, shape: tuple[int, int]):
    image = picture(*shape)
    blob = tiny.preprocess(image)
    assert blob.dtype == np.float32 and blob.shape == (3, 6, 8)
    np.testing.assert_allclose(blob, plain_preprocessing(image, TINY_PREPROCESSING), atol=1e-5)


def test_bgr_gives_what_rgb_gives(tiny: Embedder):
    image = picture(48, 64)
    bgr = np.ascontiguousarray(image[..., ::-1])
    np.testing.assert_array_equal(tiny.preprocess(bgr, 'BGR'), tiny.preprocess(image, 'RGB'))
    assert np.abs(tiny.preprocess(bgr, 'RGB') - tiny.preprocess(image)).max() > 0.1


def test_grey_gives_what_three_equal_channels_give(tiny: Embedder):
    grey = picture(48, 64)[..., 0].copy()
    colour = np.dstack([grey] * 3)
    np.testing.assert_array_equal(tiny.preprocess(grey), tiny.preprocess(colour))
    np.testing.assert_array_equal(tiny.preprocess(grey[..., None]), tiny.preprocess(colour))


def test_model_that_wants_bgr_gets_it(tmp_path: Path):
    # mean and std are stated in the network's own order
    expected = {**TINY_PREPROCESSING, 'colour_order': 'BGR', 'mean': [0.1] * 3, 'std': [0.5] * 3}
    metadata = {'preprocessing': json.dumps(expected)}
    wants_bgr = Embedder(write_tiny_model(tmp_path / 'bgr.onnx', metadata), num_threads=1)
    image = picture(48, 64)
    reference = plain_preprocessing(image, expected)
    np.testing.assert_allclose(wants_bgr.preprocess(image, 'RGB'), reference, atol=1e-5)
    bgr = np.ascontiguousarray(image[..., ::-1])
    np.testing.assert_allclose(wants_bgr.preprocess(bgr, 'BGR'), reference, atol=1e-5)


def test_preprocessing_writes_into_the_given_array(tiny: Embedder):
    image, out = picture(48, 64), np.full((3, 6, 8), np.nan, np.float32)
    assert tiny.preprocess(image, out=out) is out
    np.testing.assert_array_equal(out, tiny.preprocess(image))


def test_rows_with_padding_give_the_same(tiny: Embedder):
    padded = np.zeros((48, 80, 3), np.uint8)
    image = picture(48, 64)
    padded[:, :64] = image
    view = padded[:, :64]
    assert not view.flags.c_contiguous
    np.testing.assert_array_equal(tiny.preprocess(view), tiny.preprocess(image))
    grey, grey_view = np.ascontiguousarray(image[..., 1]), view[..., 1]
    np.testing.assert_array_equal(tiny.preprocess(grey_view), tiny.preprocess(grey))


@pytest.mark.parametrize('padding', [0, 7])
@pytest.mark.parametrize('shape', [(48, 64), (48, 64, 3)], ids=['grey', 'colour'])
def test_the_resize_reads_the_given_pixels_themselves(
    tiny: Embedder, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], padding: int
):
    row_bytes = 64 * (shape[2] if len(shape) == 3 else 1)
    rows = np.zeros((48, row_bytes + padding), np.uint8)
    image = np.lib.stride_tricks.as_strided(
        rows, shape, (rows.strides[0], row_bytes // 64, 1)[: len(shape)]
    )
    read, resize = [], cv2.resize

    def reading(pixels: np.ndarray, *arguments, **named) -> np.ndarray:
        read.append(pixels)
        return resize(pixels, *arguments, **named)

    monkeypatch.setattr(cv2, 'resize', reading)
    tiny.preprocess(image)
    assert [np.shares_memory(pixels, rows) for pixels in read] == [True]


def test_ample_is_twice_what_the_network_takes(tiny: Embedder):
    assert tiny.ample_size == (12, 16)


def test_image_is_left_as_it_was(tiny: Embedder):
    image = picture(6, 8)
    before = image.copy()
    tiny.embed(image)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(
    'image',
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4), np.uint16),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((2, 4, 4, 3), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros(12, np.uint8),
    ],
    ids=lambda image: f'{image.dtype}{image.shape}',
)
def test_what_is_no_uint8_picture_is_refused(network: Embedder, image: np.ndarray):
    with pytest.raises(VprError) as error:
        network.embed(image)
    assert str(image.dtype) in line_of(error) and str(image.shape) in str(error.value)


def test_descriptors_have_length_one_and_batches_equal_singles(network: Embedder):
    images = [picture(100 + 20 * i, 140, seed=i) for i in range(3)]
    batch = network.embed_batch(images)
    assert batch.dtype == np.float32 and batch.shape == (3, network.dimensions)
    np.testing.assert_allclose(np.linalg.norm(batch, axis=1), 1.0, atol=1e-5)
    singles = np.stack([network.embed(image) for image in images])
    np.testing.assert_allclose(singles, batch, atol=1e-4)
    assert (batch @ batch.T - np.eye(3)).max() < 0.999  # other pictures, other descriptors


def test_shipped_model_tells_sizes_and_preprocessing(network: Embedder, student: Path):
    assert network.dimensions <= 512
    assert network.local.grid == (14, 14) and network.local.channels == 64
    assert network.preprocessing.colour_order in ('RGB', 'BGR')
    assert network.name and len(network.hash) == 64
    assert student.stat().st_size < 25e6


def test_missing_model_is_named(tmp_path: Path):
    for path in (tmp_path / 'gone.onnx', tmp_path):
        with pytest.raises(VprError) as error:
            Embedder(path)
        assert line_of(error).startswith(f'{path}: the model cannot be read')


@pytest.mark.parametrize(
    'data', [b'', b'garbage' * 100, b'\x08\x08'], ids=['empty', 'text', 'cut']
)
def test_file_that_is_no_model_is_refused(tmp_path: Path, data: bytes):
    path = tmp_path / 'bad.onnx'
    path.write_bytes(data)
    with pytest.raises(VprError) as error:
        Embedder(path)
    assert line_of(error).startswith(str(path))


def test_half_a_model_is_refused(tmp_path: Path, student: Path):
    path = tmp_path / 'half.onnx'
    data = student.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(VprError) as error:
        Embedder(path)
    assert 'not a model' in line_of(error)


NO_PREPROCESSING = {
    'none': {},
    'no JSON': {'preprocessing': 'resize and go'},
    'a list': {'preprocessing': '[1, 2]'},
    'no mean': {'preprocessing': '{"size": [6, 8], "std": [1, 1, 1], "colour_order": "RGB"}'},
    'words': {'preprocessing': json.dumps({**TINY_PREPROCESSING, 'mean': ['a', 'b', 'c']})},
    'two colours': {'preprocessing': json.dumps({**TINY_PREPROCESSING, 'std': [1, 1]})},
    'other order': {'preprocessing': json.dumps({**TINY_PREPROCESSING, 'colour_order': 'HSV'})},
}


@pytest.mark.parametrize('case', NO_PREPROCESSING)
def test_model_without_preprocessing_is_refused(tmp_path: Path, case: str):
    path = write_tiny_model(tmp_path / 'bare.onnx', NO_PREPROCESSING[case])
    with pytest.raises(VprError) as error:
        Embedder(path)
    assert 'preprocessing' in line_of(error)


def test_hash_changes_with_the_file(tmp_path: Path, student: Path, network: Embedder):
    other = tmp_path / 'other.onnx'
    other.write_bytes(student.read_bytes() + b'\x28\x07')  # field model_version
    changed = Embedder(other, num_threads=1)
    assert changed.hash != network.hash
    image = picture(60, 80)
    np.testing.assert_allclose(changed.embed(image), network.embed(image), atol=1e-6)


def test_real_photos_of_one_place_are_nearer_than_of_others(network: Embedder, shared: Path):
    corridor = shared / 'data' / 'val' / 'corridor'
    queries, places = (read_source(corridor, role)[::16] for role in ('query', 'database'))
    q, p = (network.embed_batch(f.read() for f in group) for group in (queries, places))
    similarities = q @ p.T
    own, others = np.diag(similarities), similarities[~np.eye(len(q), dtype=bool)]
    assert own.mean() > others.mean() + 0.02
    assert similarities.max() <= 1.0001

# SPDX-License-Identifier: Apache-2.0
"""JPEGs of several scans: none too many of them, none lacking, and what stands between them."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from conftest import line_of

from ashtkd_ros.errors import VprError
from ashtkd_ros.images.image_file import read_image
from ashtkd_ros.images.message_decoding import compressed_to_array
from ashtkd_ros.images.picture_decoding import ImageError, decode_picture

Image = pytest.importorskip('PIL.Image')

EOI = b'\xff\xd9'
SCENE = cv2.resize(
    np.random.default_rng(5).integers(0, 256, (9, 11, 3), np.uint8), (176, 144), interpolation=2
)


def read(data: bytes) -> np.ndarray:
    return decode_picture(np.frombuffer(data, np.uint8), 'jpeg')


def scans_of(data: bytes) -> list[int]:
    """Where the headers of scans begin, in data that has no such bytes elsewhere."""
    return [i for i in range(len(data) - 1) if data[i : i + 2] == b'\xff\xda']


def progressive(width: int, height: int, repeated: int) -> bytes:
    """A black one whose last scan, with its table, comes so many times more."""
    picture = np.zeros((height, width), np.uint8)
    data = cv2.imencode('.jpg', picture, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    table = data.rfind(b'\xff\xc4', 0, scans_of(data)[-1])
    return data[:-2] + data[table:-2] * repeated + EOI


def pulled_apart() -> bytes:
    """A baseline JPEG of three scans, one a component: three grey pictures put together."""
    header, scans = b'', []
    for number in range(3):
        how = [cv2.IMWRITE_JPEG_QUALITY, 90]
        data = cv2.imencode('.jpg', SCENE[..., number], how)[1].tobytes()
        scan = data.index(b'\xff\xda')
        if not number:
            frame = data.index(b'\xff\xc0')
            size = data[frame + 4 : frame + 9]
            parts = b''.join(bytes((i, 0x11, 0)) for i in (1, 2, 3))
            ours = b'\xff\xc0' + struct.pack('>H', 17) + size + b'\x03' + parts
            header = data[:frame] + ours + data[frame + 13 : scan]
        scans.append(b'\xff\xda\0\x08\x01' + bytes((number + 1,)) + data[scan + 6 : -2])
    return header + b''.join(scans) + EOI


def through_folder(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    read_image(path)


def through_message(_: Path, data: bytes) -> None:
    compressed_to_array(SimpleNamespace(data=data, format='jpeg'), (224, 224))


@pytest.mark.parametrize('through', [through_folder, through_message])
@pytest.mark.parametrize(('side', 'repeated'), [(8000, 2000), (8000, 20), (16, 101)])
def test_too_many_scans_are_never_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: int, repeated: int, through: Callable
) -> None:
    data = progressive(side, side, repeated)
    monkeypatch.setattr(cv2, 'imdecode', lambda *_: pytest.fail('decoded'))
    begun = time.monotonic()
    with pytest.raises(VprError, match=rf'scans of {side} x {side} pixels') as error:
        through(tmp_path / 'a.jpg', data)
    line_of(error)
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(('side', 'repeated'), [(3000, 8), (64, 80)])
def test_as_many_scans_as_encoders_make_are_read(side: int, repeated: int) -> None:
    assert read(progressive(side, side, repeated)).shape == (side, side, 3)


def test_scans_in_a_comment_do_not_count() -> None:
    data = cv2.imencode('.jpg', SCENE)[1].tobytes()
    comment = b'\xff\xfe' + struct.pack('>H', 2002) + b'\xff\xda' * 1000
    np.testing.assert_array_equal(read(data[:2] + comment + data[2:]), read(data))


def test_a_baseline_jpeg_that_lacks_a_scan_is_truncated() -> None:
    data = pulled_apart()
    at = scans_of(data)
    assert len(at) == 3
    np.testing.assert_array_equal(read(data), cv2.imdecode(np.frombuffer(data, np.uint8), 1))
    np.testing.assert_array_equal(read(data[:-2]), read(data))
    for cut in (at[1], at[2], (at[2] + len(data)) // 2):
        for end in (b'', EOI, bytes(900) + EOI):
            with pytest.raises(ImageError, match='truncated data'):
                read(data[:cut] + end)


@pytest.mark.parametrize('share', [0.4, 0.7, 0.97])
def test_a_cut_jpeg_of_four_colours_is_truncated(tmp_path: Path, share: float) -> None:
    path = tmp_path / 'cmyk.jpg'
    Image.fromarray(SCENE).convert('CMYK').save(path, quality=90)
    data = path.read_bytes()
    np.testing.assert_array_equal(read(data), cv2.imdecode(np.frombuffer(data, np.uint8), 1))
    with pytest.raises(ImageError, match='truncated data'):
        read(data[: int(len(data) * share)] + EOI)


@pytest.mark.parametrize('text', [b'a\xff\xd9b', b'\xff\xda\xff\xd9' * 30])
def test_the_mark_of_the_end_within_a_comment_ends_nothing(text: bytes) -> None:
    how = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
    for data in (cv2.imencode('.jpg', SCENE, how)[1].tobytes(), pulled_apart()):
        for at in scans_of(data)[1:]:
            comment = b'\xff\xfe' + struct.pack('>H', len(text) + 2) + text
            whole = data[:at] + comment + data[at:]
            np.testing.assert_array_equal(read(whole), read(data))

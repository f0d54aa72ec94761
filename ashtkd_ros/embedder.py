# SPDX-License-Identifier: Apache-2.0
"""Image → descriptor by ONNX Runtime; size, colours and normalisation are read from the model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.providers import RuntimeOptions, first_line, open_session

PREPROCESSING_KEY = 'preprocessing'
CONFIDENCE_KEY = 'confidence'


@dataclass(frozen=True)
class Preprocessing:
    """What the network expects: `size` (height, width) pixels, (pixel/255 - mean) / std, order."""

    size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    colour_order: str

    @classmethod
    def from_json(cls, text: str) -> Preprocessing:
        """Parse the metadata entry; ValueError, KeyError or TypeError when it is not one."""
        values = json.loads(text)
        size = tuple(int(s) for s in values['size'])
        mean, std = (tuple(float(v) for v in values[name]) for name in ('mean', 'std'))
        order = values['colour_order']
        if len(size) != 2 or len(mean) != 3 or len(std) != 3 or order not in ('RGB', 'BGR'):
            raise ValueError(text)
        return cls(size, mean, std, order)


def squeeze(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image at (width, height) pixels by area, as runtime and training both do it.

    Small images too: enlarged more smoothly than those that a student learned from, a picture of
    160 x 120 is recognised less often.
    """
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


class Embedder:
    """A place-recognition network, ready to run.

    `providers`, `num_threads`, `spinning`, `fp16` and `cache`: see `providers.RuntimeOptions`.
    `notify` is told, in one line, before something that takes minutes. Afterwards `provider` is
    the execution provider that is active and `warnings` says why those before it are not. Raises
    VprError when the model is missing, unreadable, or tells no preprocessing, and for a provider
    that ONNX Runtime does not know.
    """

    def __init__(
        self,
        model: Path,
        providers: Sequence[str] = (),
        num_threads: int = 0,
        *,
        spinning: bool = False,
        fp16: bool = False,
        cache: Path | None = None,
        notify: Callable[[str], None] | None = None,
    ):
        self.path = Path(model)
        data = _read(self.path)
        self.hash = hashlib.sha256(data).hexdigest()
        options = RuntimeOptions(tuple(providers), num_threads, spinning, fp16, cache)
        try:
            self._session, self.warnings = open_session(data, options, notify)
        except VprError:
            raise
        except Exception as error:  # onnxruntime's own exceptions share no public base
            raise VprError(
                f'{model}: not a model that ONNX Runtime can load ({first_line(error)})'
            ) from error
        self.provider = self._session.get_providers()[0]
        metadata = self._session.get_modelmeta().custom_metadata_map
        try:
            self.preprocessing = Preprocessing.from_json(metadata[PREPROCESSING_KEY])
            self.confidence = dict(json.loads(metadata.get(CONFIDENCE_KEY, '{}')))
        except (ValueError, KeyError, TypeError) as error:
            raise VprError(
                f'{model}: the model tells no preprocessing; export it with tools.export'
            ) from error
        self.name = metadata.get('name', self.path.stem)
        first = self._session.get_inputs()[0]
        # One compiled for single images takes no batch.
        self._input, self._single = first.name, first.shape[0] == 1
        output = self._session.get_outputs()[0]
        self._output, self.dimensions = output.name, int(output.shape[-1])
        mean, std = np.array(self.preprocessing.mean), np.array(self.preprocessing.std)
        self._scale = (1.0 / (255.0 * std)).astype(np.float32)[:, None, None]
        self._shift = (-mean / std).astype(np.float32)[:, None, None]

    @property
    def ample_size(self) -> tuple[int, int]:
        """Height and width in pixels from which on a picture need not be decoded any larger.

        Twice the network's: squeezed from there, descriptors are within 0.0003 of the full
        picture's (cosine, mean); from its own size within 0.003, which costs recall.
        """
        height, width = self.preprocessing.size
        return 2 * height, 2 * width

    def squeeze(self, image: np.ndarray) -> np.ndarray:
        """uint8 (H, W[, 3]) → uint8 (h, w[, 3]), the network's size; one of it stays as is."""
        height, width = self.preprocessing.size
        return image if image.shape[:2] == (height, width) else squeeze(image, (width, height))

    def preprocess(self, image: np.ndarray, order: str = 'RGB', out: np.ndarray | None = None):
        """uint8 (H, W, 3) in `order`, or (H, W) grey → float32 (3, h, w), into `out` if given.

        The image is squeezed to the network's size whatever its shape, so that nothing at its
        sides is lost; it is read once and never copied at full size.
        """
        flat = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (1, 3))
        if image.dtype != np.uint8 or not flat or image.size == 0:
            raise VprError(f'image is {image.dtype} {image.shape}; expected uint8 (H, W[, 3])')
        height, width = self.preprocessing.size
        small = self.squeeze(image)
        if small.ndim == 2:
            small = np.broadcast_to(small[..., None], (height, width, 3))
        elif order != self.preprocessing.colour_order:
            small = small[..., ::-1]
        out = np.empty((3, height, width), np.float32) if out is None else out
        np.multiply(small.transpose(2, 0, 1), self._scale, out=out)
        out += self._shift
        return out

    def embed(self, image: np.ndarray, order: str = 'RGB') -> np.ndarray:
        """uint8 (H, W, 3) or (H, W) → float32 (D,) of length 1."""
        return self.run(self.preprocess(image, order)[None])[0]

    def embed_batch(self, images: Iterable[np.ndarray]) -> np.ndarray:
        """uint8 images of any sizes, RGB → float32 (N, D), rows of length 1."""
        return self.run(np.stack([self.preprocess(image) for image in images]))

    def run(self, blob: np.ndarray) -> np.ndarray:
        """float32 (N, 3, h, w) as `preprocess` makes it → float32 (N, D)."""
        if self._single and len(blob) > 1:
            return np.concatenate([self.run(row[None]) for row in blob])
        return self._infer([self._output], blob)[0]

    def warm_up(self) -> None:
        """Run the network once, so that the first image need not wait for what is made then."""
        self.embed(np.zeros((*self.preprocessing.size, 3), np.uint8))

    def salient_maps(self, image: np.ndarray, order: str = 'RGB') -> list[np.ndarray]:
        """uint8 (H, W, 3) or (H, W) → each level's maps float32 (K, h, w), each summing to 1.

        Finest level first; VprError where the model gives none.
        """
        names = [o.name for o in self._session.get_outputs() if o.name.startswith('salient')]
        if not names:
            raise VprError(f'{self.path}: gives no salient maps; export it with tools.export')
        blob = self.preprocess(image, order)[None]
        return [maps[0] for maps in self._infer(names, blob)]

    def _infer(self, outputs: list[str], blob: np.ndarray) -> list[np.ndarray]:
        try:
            return self._session.run(outputs, {self._input: blob})
        except Exception as error:  # onnxruntime's own exceptions share no public base
            raise VprError(
                f'{self.provider} failed to run {self.path.name} ({first_line(error)}); '
                'open the model again, or name another provider'
            ) from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise VprError(
            f'{path}: the model cannot be read ({error.strerror or error}); check model_path'
        ) from error

# SPDX-License-Identifier: Apache-2.0
"""From an image to its descriptor by ONNX Runtime; the model itself tells its preprocessing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.checksums import sha256_of
from ashtkd_ros.files.documents import parse_json
from ashtkd_ros.network.confidence import check_coefficients
from ashtkd_ros.network.descriptors import first_not_unit
from ashtkd_ros.network.emptiness import NOT_EMPTY, Emptiness, pictures_of_nothing
from ashtkd_ros.network.local_features import LOCAL, LocalShape, Look, as_int8, shape_of_output
from ashtkd_ros.network.model_file import not_a_model, read_model
from ashtkd_ros.network.providers import RuntimeOptions, first_line
from ashtkd_ros.network.session import Session
from ashtkd_ros.text import one_line, reason_of

PREPROCESSING_KEY = 'preprocessing'
CONFIDENCE_KEY = 'confidence'
_LONGEST = 8192  # pixels of a side
_SAME_DESCRIPTOR = 1.0 - 1e-6  # inner product
_LARGEST, _LEAST_STD = 1e4, 1e-6
_LONGEST_DESCRIPTOR = 2**16
_Node = tuple[str, str, list]  # name, type and shape of an input or output


@dataclass(frozen=True)
class Preprocessing:
    """What the network expects: (pixel / 255 - mean) / std of an image of `size`.

    `size`: (height, width) in pixels; `colour_order`: RGB or BGR.
    """

    size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    colour_order: str

    @classmethod
    def from_json(cls, text: str) -> Preprocessing:
        """Read the entry in the model's metadata; ValueError says what is wrong with it."""
        values = parse_json(text)
        if not isinstance(values, dict):
            raise ValueError('it is not a table')
        size = _numbers(values, 'size', 2)
        if not all(type(s) is int and 0 < s <= _LONGEST for s in size):
            raise ValueError(f'size is not two whole numbers from 1 to {_LONGEST}')
        mean, std = _numbers(values, 'mean', 3), _numbers(values, 'std', 3)
        if not all(s >= _LEAST_STD for s in std):
            raise ValueError('std is not above 0')
        order = values.get('colour_order')
        if order not in ('RGB', 'BGR'):
            raise ValueError('colour_order is neither RGB nor BGR')
        if values.get('resize', 'area') != 'area':
            raise ValueError('resize is not "area"')
        return cls(size, tuple(map(float, mean)), tuple(map(float, std)), order)


def _numbers(values: dict, name: str, count: int) -> tuple:
    numbers = values.get(name)
    if not isinstance(numbers, list) or len(numbers) != count:
        raise ValueError(f'{name} is not {count} numbers')
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            raise ValueError(f'{name} is not {count} numbers')
        if not abs(number) <= _LARGEST:  # NaN as well
            raise ValueError(f'{name} is not within {_LARGEST:g}')
    return tuple(numbers)


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize an image to (width, height) pixels by area, as training does too.

    This applies also to small images: with a smoother enlargement than in training, an image of
    160 x 120 pixels is recognised less often.
    """
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


class Embedder:
    """A network for place recognition, ready to run.

    `providers`, `num_threads`, `spinning`, `fp16`, `cache` and `at_once`: see
    `providers.RuntimeOptions`; `notify` and `warn`: see `session.Session`. `local`: the shape of
    the network's local features, None where it has none. VprError if the model is missing, cannot
    be read, needs other files, has no preprocessing in its metadata, or gives no descriptor and no
    local features of length 1, and for a provider that ONNX Runtime does not know.
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
        at_once: int = 1,
        notify: Callable[[str], None] | None = None,
        warn: Callable[[str], None] | None = None,
    ):
        self.path = Path(model)
        data = read_model(self.path)
        self.hash = sha256_of(data)
        self.options = options = RuntimeOptions(
            tuple(providers), num_threads, spinning, fp16, cache, at_once
        )
        inputs, outputs, metadata = self._open(data, options, notify, warn)
        self._read_metadata(metadata)
        self._read_shapes(inputs, outputs)
        self.local = self._local_shape(metadata, outputs)
        self._looks = [self._output] if self.local is None else [self._output, LOCAL]
        mean, std = np.array(self.preprocessing.mean), np.array(self.preprocessing.std)
        self._scale = (1.0 / (255.0 * std)).astype(np.float32)[:, None, None]
        self._shift = (-mean / std).astype(np.float32)[:, None, None]
        self._empty: Emptiness | None = None
        self.warm_up()
        self._empty = self._emptiness()

    def _open(
        self,
        data: bytes,
        options: RuntimeOptions,
        notify: Callable[[str], None] | None,
        warn: Callable[[str], None] | None,
    ) -> tuple[list[_Node], list[_Node], dict[str, str]]:
        """Open the session: the network's inputs, outputs and metadata."""
        try:
            self._session = Session(data, options, notify, warn)
            network = self._session.network
            metadata = dict(network.get_modelmeta().custom_metadata_map)
            # Names in a model may not be valid text, which only shows when they are read.
            inputs, outputs = (
                [(n.name, n.type, list(n.shape or ())) for n in nodes]
                for nodes in (network.get_inputs(), network.get_outputs())
            )
        except VprError:
            raise
        except Exception as error:  # onnxruntime's own exceptions share no public base
            raise not_a_model(self.path, first_line(error)) from error
        return inputs, outputs, metadata

    def _read_metadata(self, metadata: dict[str, str]) -> None:
        if PREPROCESSING_KEY not in metadata:
            raise VprError(
                f'{self.path}: the model has no preprocessing in its metadata; export it with '
                'tools.training.export'
            )
        try:
            self.preprocessing = Preprocessing.from_json(metadata[PREPROCESSING_KEY])
        except ValueError as error:
            raise VprError(
                f'{self.path}: the preprocessing in the metadata of the model cannot be used '
                f'({reason_of(error)}); export it with tools.training.export'
            ) from error
        try:
            self.confidence = check_coefficients(parse_json(metadata.get(CONFIDENCE_KEY, '{}')))
        except ValueError as error:
            raise VprError(
                f'{self.path}: the confidence in the metadata of the model cannot be used '
                f'({reason_of(error)}); fit it with tools.training.calibrate'
            ) from error
        self.name = one_line(metadata.get('name', ''))[:200] or one_line(self.path.stem)

    def _read_shapes(self, inputs: Sequence[_Node], outputs: Sequence[_Node]) -> None:
        """VprError if the network does not make a descriptor of each picture."""
        why = self._shape_error(inputs, outputs)
        if why:
            height, width = self.preprocessing.size
            raise VprError(
                f'{self.path}: does not make descriptors (N, D) of pictures (N, 3, {height}, '
                f'{width}), both float32: {why}; export it with tools.training.export'
            )
        self._input, (self._output, _, (_, self.dimensions)) = inputs[0][0], outputs[0]
        self._salient = [name for name, _, _ in outputs if name.startswith('salient')]

    def _local_shape(
        self, metadata: dict[str, str], outputs: Sequence[_Node]
    ) -> LocalShape | None:
        """The shape of the output `local`, None without one; VprError where it cannot be used."""
        for name, kind, shape in outputs:
            if name == LOCAL:
                try:
                    return shape_of_output(metadata, kind, shape)
                except ValueError as error:
                    raise VprError(
                        f'{self.path}: the output "{LOCAL}" of the model cannot be used '
                        f'({reason_of(error)}); export it with tools.training.export'
                    ) from error
        return None

    def _shape_error(self, inputs: Sequence[_Node], outputs: Sequence[_Node]) -> str:
        """What is wrong with the inputs and outputs of a network; empty if nothing is."""
        if len(inputs) != 1 or not outputs:
            return f'it has {len(inputs)} inputs and {len(outputs)} outputs'
        (_, takes, taken), (_, gives, given) = inputs[0], outputs[0]
        if takes != 'tensor(float)' or gives != 'tensor(float)':
            return f'it takes {takes} and gives {gives}'
        wanted = [3, *self.preprocessing.size]
        sizes = zip(taken[1:], wanted, strict=False)
        if len(taken) != 4 or any(isinstance(n, int) and n != size for n, size in sizes):
            return f'its input is {taken}'
        if len(given) != 2 or given[1] not in range(2, _LONGEST_DESCRIPTOR + 1):
            return f'its output is {given}'
        if any(isinstance(n, int) and n != 1 for n in (taken[0], given[0])):
            return f'it takes {taken[0]} pictures at a time, not one or any number'
        return ''

    @property
    def provider(self) -> str:
        """The active execution provider; it changes if it fails while it runs."""
        return self._session.provider

    @property
    def warnings(self) -> list[str]:
        """Why the preferred providers are not used; empty if the first one is."""
        return self._session.warnings

    @property
    def ample_size(self) -> tuple[int, int]:
        """Height and width in pixels at which a picture is large enough to be decoded.

        This is twice the size of the network. Descriptors from there differ by 0.0003 from those
        of the full picture (mean cosine distance); from the network's own size they differ by
        0.003, which costs recall.
        """
        height, width = self.preprocessing.size
        return 2 * height, 2 * width

    def resize(self, image: np.ndarray) -> np.ndarray:
        """uint8 (H, W[, 3]) → uint8 (h, w[, 3]), the network's size; the same array if it fits."""
        height, width = self.preprocessing.size
        return image if image.shape[:2] == (height, width) else resize(image, (width, height))

    def preprocess(self, image: np.ndarray, order: str = 'RGB', out: np.ndarray | None = None):
        """uint8 (H, W, 3) in `order`, or (H, W) grey → float32 (3, h, w), in `out` if given.

        The whole image is resized to the network's size, whatever its shape, so that nothing at
        its sides is lost; it is read once and never copied at full size.
        """
        flat = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (1, 3))
        if image.dtype != np.uint8 or not flat or image.size == 0:
            raise VprError(
                f'the image is {image.dtype} {image.shape}; it must be uint8 (H, W[, 3])'
            )
        height, width = self.preprocessing.size
        small = self.resize(image)
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

    def describe(self, image: np.ndarray, order: str = 'RGB') -> Look:
        """uint8 (H, W, 3) or (H, W) → descriptor and local features, in one run of the network."""
        outputs = self._infer(self._looks, self.preprocess(image, order)[None])
        descriptor = self._checked(outputs[0], 1)[0]
        emptiness = self._empty.of(descriptor) if self._empty else NOT_EMPTY
        if self.local is None:
            return Look(descriptor, None, emptiness)
        try:
            return Look(descriptor, as_int8(outputs[1], self.local), emptiness)
        except ValueError as error:
            raise VprError(
                f'{self.path}: gives as "{LOCAL}" {reason_of(error)}; the network does not work, '
                'at least on this provider; export it with tools.training.export'
            ) from error

    def _emptiness(self) -> Emptiness | None:
        """None for a network that gives hardly any descriptors of pictures of nothing."""
        rows = []
        for picture in pictures_of_nothing(*self.preprocessing.size):
            with suppress(VprError):  # some networks have no length to divide by
                rows.append(self.embed(picture))
        return Emptiness(np.stack(rows)) if len(rows) > 1 else None

    def embed_batch(self, images: Iterable[np.ndarray]) -> np.ndarray:
        """uint8 images of any sizes, RGB → float32 (N, D), rows of length 1."""
        return self.run(np.stack([self.preprocess(image) for image in images]))

    def run(self, blob: np.ndarray) -> np.ndarray:
        """float32 (N, 3, h, w) from `preprocess` → descriptors float32 (N, D) of length 1.

        VprError if the network gives anything else.
        """
        return self._checked(self._infer([self._output], blob)[0], len(blob))

    def _checked(self, rows: np.ndarray, count: int) -> np.ndarray:
        """The output of `count` pictures; VprError where it is not their descriptors."""
        shape = (count, self.dimensions)
        if not isinstance(rows, np.ndarray) or rows.shape != shape or rows.dtype != np.float32:
            raise VprError(
                f'{self.path}: gives {getattr(rows, "shape", "no array")} and not {shape}; '
                'export it with tools.training.export'
            )
        bad = first_not_unit(rows)
        if bad is not None:
            with np.errstate(over='ignore', invalid='ignore'):
                length = float(np.linalg.norm(rows[bad]))
            raise VprError(
                f'{self.path}: gives a descriptor of length {length:.4g}, not 1; the network does '
                'not work, at least on this provider; export it with tools.training.export'
            )
        return rows

    def warm_up(self) -> None:
        """Run the network on two pictures, as a new `Embedder` does itself.

        The first image then need not wait for what a first run prepares. VprError if the network
        fails, gives no descriptor or unsound local features, or the same for both pictures.
        """
        height, width = self.preprocessing.size
        shades = np.arange(height * width * 3, dtype=np.uint32).reshape(height, width, 3)
        noise = (shades * 37 % 251).astype(np.uint8)
        fading = np.linspace(1.0, 0.0, width)[:, None] * (1.0, 0.5, 0.1)
        other = (noise.min(axis=2, keepdims=True) * fading).astype(np.uint8)
        first, second = self.describe(noise), self.describe(other)
        same = ''
        if float(first.descriptor @ second.descriptor) > _SAME_DESCRIPTOR:
            same = 'descriptor'
        elif self.local is not None and np.array_equal(first.local, second.local):
            same = 'local features'
        if same:
            raise VprError(
                f'{self.path}: gives two different pictures the same {same}; the network does '
                'not work; export it with tools.training.export'
            )

    def salient_maps(self, image: np.ndarray, order: str = 'RGB') -> list[np.ndarray]:
        """uint8 (H, W, 3) or (H, W) → salient maps of each level, float32 (K, h, w), with sum 1.

        The finest level comes first. VprError if the model gives no maps.
        """
        if not self._salient:
            raise VprError(
                f'{self.path}: gives no salient maps; export it with tools.training.export'
            )
        blob = self.preprocess(image, order)[None]
        levels = self._infer(self._salient, blob)
        for maps in levels:
            if not isinstance(maps, np.ndarray) or maps.ndim != 4 or not maps.size:
                raise VprError(f'{self.path}: its salient maps are not (N, K, h, w)')
            if not (np.isfinite(maps).all() and maps[0].mean(axis=0).max() > 0):
                raise VprError(f'{self.path}: its salient maps are not finite and above 0')
        return [maps[0] for maps in levels]

    def _infer(self, outputs: list[str], blob: np.ndarray) -> list[np.ndarray]:
        try:
            return self._session.run(outputs, {self._input: blob})
        except Exception as error:  # onnxruntime's own exceptions share no public base
            raise VprError(
                f'{self.provider} failed to run {self.path.name} ({first_line(error)}); '
                'open the model again, or name another provider'
            ) from error

# SPDX-License-Identifier: Apache-2.0
"""A finished teacher in the place of an exported student, to be measured in the same way."""

from __future__ import annotations

from threading import Lock
from types import MappingProxyType

import numpy as np
import torch

from ashtkd_ros.images.colour_order import to_rgb
from ashtkd_ros.network.embedder import Preprocessing, resize
from ashtkd_ros.network.local_features import LocalShape, Look, as_int8
from tools.training.finished_teacher import Teacher

_SIZE = 224  # pixels, as its fixed views


class TeacherNetwork:
    """What maps, matchers and studies ask of an `Embedder`; its local features are its maps."""

    confidence = MappingProxyType({})
    preprocessing = Preprocessing((_SIZE, _SIZE), (0.0,) * 3, (1.0,) * 3, 'RGB')

    def __init__(self, teacher: Teacher):
        self.name, self.hash, self._teacher = teacher.name, '0' * 64, teacher
        self._lock = Lock()  # a trunk remembers the images that it saw last
        targets = teacher(torch.zeros(1, 3, _SIZE, _SIZE))
        self.dimensions, self.local = targets.descriptor.shape[1], None
        if targets.maps is not None:
            positions, channels = targets.maps.shape[1:]
            side = round(positions**0.5)
            self.local = LocalShape((side, side), channels)

    def describe(self, image: np.ndarray, order: str = 'RGB') -> Look:
        """The teacher's descriptor and map of an image, uint8 (H, W, 3) in an order of colours."""
        picture = resize(to_rgb(image, order), (_SIZE, _SIZE)).transpose(2, 0, 1)
        images = torch.from_numpy(picture[None].astype(np.float32) / 255)
        with self._lock:
            targets = self._teacher(images)
        local = None
        if self.local is not None:
            local = as_int8(targets.maps.float().cpu().numpy(), self.local)
        return Look(targets.descriptor[0].float().cpu().numpy(), local)

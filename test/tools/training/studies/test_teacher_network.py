# SPDX-License-Identifier: Apache-2.0
"""A teacher in the place of a student: what it says of an image, also to several threads."""

from __future__ import annotations

import time

import numpy as np
from training_packages import torch

from ashtkd_ros.network.parallel_embedding import in_parallel
from tools.training.data.batch import Targets
from tools.training.studies.teacher_network import TeacherNetwork


class ForgetfulTeacher:
    """Says the mean colour of the images that it was shown last, as a shared trunk does."""

    name = 'forgetful'

    def __init__(self, channels: int | None = 4):
        self.channels = channels

    def __call__(self, images: torch.Tensor) -> Targets:
        self.shown = images
        time.sleep(0.002)
        descriptor = torch.nn.functional.normalize(self.shown.mean(dim=(2, 3)) + 0.01)
        maps = None
        if self.channels:
            maps = torch.nn.functional.normalize(torch.ones(1, 196, self.channels), dim=2)
        return Targets(descriptor, maps)


def test_every_thread_gets_the_answer_to_its_own_image():
    network = TeacherNetwork(ForgetfulTeacher())
    colours = np.random.default_rng(0).integers(20, 250, (24, 3))
    images = [np.full((30, 40, 3), c, np.uint8) for c in colours]
    looks = in_parallel(network.describe, ((None, (image, 'RGB')) for image in images), 8)
    for colour, (_, look) in zip(colours, looks, strict=True):
        wanted = colour / 255 + 0.01
        assert np.allclose(look.descriptor, wanted / np.linalg.norm(wanted), atol=1e-4)
        assert look.local.shape == (196, 4) and (look.local == 64).all()


def test_colours_are_in_order_and_a_teacher_may_have_no_maps():
    network = TeacherNetwork(ForgetfulTeacher(None))
    assert network.local is None and network.dimensions == 3
    blue = np.full((30, 40, 3), (250, 0, 0), np.uint8)
    look = network.describe(blue, 'BGR')
    assert look.local is None and look.descriptor.argmax() == 2

# SPDX-License-Identifier: Apache-2.0
"""The choice of the topics of a bag that have the images and the poses."""

from __future__ import annotations

from ashtkd_ros.bags.bag import COMPRESSED_TYPE, IMAGE_TYPE, PLACE_TYPE, Bag, Topic
from ashtkd_ros.errors import VprError
from ashtkd_ros.traverses.pose_messages import POSE_TYPES, TfPoses

NO_POSES = 'none'
# Goals and first guesses, which are not poses of the robot, come more seldom than either of these.
_LEAST_PER_IMAGE, _LEAST_HZ = 0.1, 0.2


def _choose(bag: Bag, name: str, candidates: list[Topic], what: str, flag: str) -> Topic:
    """The topic of that name, or the only candidate; else VprError that lists the candidates."""
    listed = '; '.join(map(str, candidates)) or 'none'
    if name:
        wanted = '/' + name.lstrip('/')
        named = [t for t in candidates if _bare(t.name) == _bare(name)]
        if not named:
            raise VprError(f'{bag.path}: {wanted} is not a topic with {what}; those are: {listed}')
        return next((t for t in named if t.name == wanted), named[0])
    if len(candidates) != 1:
        raise VprError(
            f'{bag.path}: {len(candidates)} topics have {what}; choose with {flag}: {listed}'
        )
    return candidates[0]


def answers(bag: Bag) -> set[str]:
    """Topics of poses and pictures that may be those of a vpr_node: no truth, and no camera's."""
    nodes = {t.name.rpartition('/')[0] for t in bag.of_type(PLACE_TYPE)}
    nodes |= {f'{t.partition("vpr_node/")[0]}vpr_node' for t in bag.topics if 'vpr_node/' in t}
    return {f'{node}/{name}' for node in nodes for name in ('pose', 'debug_image')}


def choose_image_topic(bag: Bag, name: str = '') -> Topic:
    """The topic with images; VprError if there is none, or if there are several and no name."""
    candidates = bag.of_type(IMAGE_TYPE, COMPRESSED_TYPE)
    colours = [t for t in candidates if not t.name.endswith('/compressedDepth')]
    if candidates and not colours:
        raise VprError(
            f'{bag.path}: holds no pictures of a camera; {", ".join(t.name for t in candidates)} '
            'is depth packed by image_transport (compressedDepth); record the colour or grey '
            'image of the camera, raw or compressed'
        )
    if not candidates:
        listed = '; '.join(map(str, bag.topics.values())) or 'nothing'
        raise VprError('; '.join([f'{bag.path}: holds no images; it holds: {listed}', *bag.notes]))
    # Without a name, not the depth images, packed into PNG with a header of their own.
    own = answers(bag)
    pictures = [t for t in colours if t.name.removesuffix('/compressed') not in own] or colours
    return _choose(bag, name, candidates if name else pictures, 'images', '--image-topic')


def choose_pose_topic(bag: Bag, name: str = '', images: int = 0) -> Topic | None:
    """The topic with poses; None if there is none, or `name` is "none".

    Nearly every bag has tf, so it is only chosen if there is no other. A topic with few messages
    for the number of `images` is only chosen by its name, or if there is no other at all; the
    answers of a vpr_node only by their name.
    """
    if name == NO_POSES:
        return None
    tf = [t for t in bag.of_type(*TfPoses.types) if not t.name.endswith('tf_static')]
    direct = bag.of_type(*(POSE_TYPES - TfPoses.types))
    if not name:
        own = answers(bag)
        direct = [t for t in direct if t.name not in own]
    least = _LEAST_PER_IMAGE * images
    dense = [t for t in direct if t.count >= least or t.hz >= _LEAST_HZ]
    candidates = direct + tf if name else dense or tf or direct
    if not candidates and not name:
        return None
    return _choose(bag, name, candidates, 'poses', '--pose-topic')


def no_poses(bag: Bag) -> str:
    """What is said of a bag of which no topic of poses is chosen."""
    own = [t.name for t in bag.of_type(*POSE_TYPES) if t.name in answers(bag)]
    only = f', but {own[0]}, which holds the answers of a vpr_node' if own else ''
    return f'no topic with poses{only}: its images have none'


def static_of(bag: Bag, tf: Topic) -> list[str]:
    """The topic ..tf_static of the same robot, else /tf_static; empty if there is neither."""
    own = f'{tf.name.rpartition("/")[0]}/tf_static'
    known = [t.name for t in bag.of_type(*TfPoses.types) if t.name != tf.name]
    wanted = [_bare(own), 'tf_static']
    return sorted((n for n in known if _bare(n) in wanted), key=lambda n: wanted.index(_bare(n)))[
        :1
    ]


def _bare(topic: str) -> str:
    """A topic without the slash at its beginning, which not every writer of MCAP puts there."""
    return topic.lstrip('/')

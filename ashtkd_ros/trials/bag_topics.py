# SPDX-License-Identifier: Apache-2.0
"""Which topics of a trial's bag are what: by its configuration, else by their types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ashtkd_ros.bags.bag import COMPRESSED_TYPE, IMAGE_TYPE, INFO_TYPE, PLACE_TYPE, Bag, Topic
from ashtkd_ros.traverses.pose_messages import ODOMETRY_TYPE, POSE_TYPES, NavSatPoses, TfPoses
from ashtkd_ros.traverses.topic_choice import answers
from ashtkd_ros.trials.vocabulary import EVENT_TOPIC, MARKED_TOPIC

DIAGNOSTICS_TYPE, TEXT_TYPE = 'diagnostic_msgs/msg/DiagnosticArray', 'std_msgs/msg/String'
_COMPRESSED = '/compressed'
_OF_THE_NODE = ('/debug_image', '/compressedDepth', '/theora')


@dataclass(frozen=True)
class BagTopics:
    """Names of topics: `images` by camera, which is the topic of its raw images; the others as
    they are called. `poses`: in the order of preference, all that may tell where the robot was."""

    images: Mapping[str, str] = field(default_factory=dict)
    places: tuple[str, ...] = ()
    fix: str = ''
    odometry: str = ''
    poses: tuple[str, ...] = ()
    tf: tuple[str, ...] = ()
    infos: tuple[str, ...] = ()
    diagnostics: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    events: tuple[str, ...] = ()

    @property
    def all(self) -> list[str]:
        """Each once."""
        names = [*self.images.values(), *self.places, self.fix, self.odometry, *self.poses]
        names += [*self.tf, *self.infos, *self.diagnostics, *self.marks, *self.events]
        return [name for name in dict.fromkeys(names) if name]


def names_of(configuration: Mapping[str, object], what: str) -> list[str]:
    """The topics that a configuration names for `what`, none where it names none."""
    topics = configuration.get('topics')
    given = topics.get(what) if isinstance(topics, Mapping) else None
    given = given if isinstance(given, list) else [given]
    return [name for name in given if isinstance(name, str) and name]


def bag_topics(bag: Bag, configuration: Mapping[str, object]) -> BagTopics:
    """The topics of a bag; what a configuration names and the bag lacks is looked for by type."""

    def named(what: str, *types: str) -> list[Topic]:
        of_type = bag.of_type(*types)
        wanted = names_of(configuration, what)
        return [t for t in of_type if t.name in wanted] or of_type

    places = tuple(t.name for t in named('place', PLACE_TYPE))
    fixes = named('fix', *NavSatPoses.types)
    odometries = named('odom', ODOMETRY_TYPE)
    fix, odometry = (max(f, key=lambda t: t.count).name if f else '' for f in (fixes, odometries))
    # What the node itself says of the pose is an answer, and no truth.
    own = answers(bag) | set(names_of(configuration, 'pose'))
    direct = bag.of_type(*(POSE_TYPES - TfPoses.types - NavSatPoses.types))
    return BagTopics(
        _images(bag, names_of(configuration, 'camera')),
        places,
        fix,
        odometry,
        tuple(t.name for t in direct if t.name not in own),
        tuple(t.name for t in bag.of_type(*TfPoses.types)),
        tuple(t.name for t in bag.of_type(INFO_TYPE)),
        tuple(t.name for t in bag.of_type(DIAGNOSTICS_TYPE)),
        _texts(bag, MARKED_TOPIC),
        _texts(bag, EVENT_TOPIC),
    )


def camera_of(topic: str) -> str:
    """The camera of a topic of images, raw or compressed."""
    return topic.removesuffix(_COMPRESSED)


def _images(bag: Bag, wanted: list[str]) -> dict[str, str]:
    """Camera → its topic with the most images, the compressed one of equals."""
    cameras = {camera_of(name) for name in wanted}
    found: dict[str, Topic] = {}
    topics = bag.of_type(IMAGE_TYPE, COMPRESSED_TYPE)
    topics = [t for t in topics if not t.name.endswith(_OF_THE_NODE)]
    topics = [t for t in topics if camera_of(t.name) in cameras] or topics
    for topic in topics:
        before = found.get(camera_of(topic.name))
        if before is None or topic.count >= before.count:
            found[camera_of(topic.name)] = topic
    return {camera: topic.name for camera, topic in found.items()}


def _texts(bag: Bag, ending: str) -> tuple[str, ...]:
    return tuple(t.name for t in bag.of_type(TEXT_TYPE) if t.name.endswith(ending))

# SPDX-License-Identifier: Apache-2.0
"""What rosbag2 wants to know of a bag: metadata.yaml, and the same of one file within it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import yaml

from ashtkd_ros.bags.channels import CDR
from ashtkd_ros.bags.mcap_writer import PartContent, RecordedTopic

INFORMATION = 'rosbag2_bagfile_information'
# Humble reads the QoS profiles of version 8, and Jazzy's own version 9 it does not.
_VERSION = 8
_NO_TIME = 2**63 - 1  # of a bag without messages, as in rosbag2


def bag_metadata(parts: Sequence[PartContent], distribution: str) -> dict[str, object]:
    """The plain values of metadata.yaml for these files; `distribution`: of ROS, such as jazzy."""
    topics: dict[str, RecordedTopic] = {}
    counts: Counter[str] = Counter()
    for part in parts:
        topics.update(part.topics)
        counts.update(part.counts)
    filled = [p for p in parts if p.counts]
    start = min((p.start_ns for p in filled), default=_NO_TIME)
    end = max((p.end_ns for p in filled), default=start)
    return {
        'version': _VERSION,
        'storage_identifier': 'mcap',
        'duration': {'nanoseconds': end - start},
        'starting_time': {'nanoseconds_since_epoch': start},
        'message_count': counts.total(),
        'topics_with_message_count': [_topic(t, counts[name]) for name, t in topics.items()],
        'compression_format': '',
        'compression_mode': '',
        'relative_file_paths': [p.name for p in parts],
        'files': [_file(p) for p in parts],
        'custom_data': None,
        'ros_distro': distribution,
    }


def _topic(topic: RecordedTopic, count: int) -> dict[str, object]:
    about = {
        'name': topic.name,
        'type': topic.type,
        'serialization_format': CDR,
        'offered_qos_profiles': topic.qos,
        'type_description_hash': topic.type_hash,
    }
    return {'topic_metadata': about, 'message_count': count}


def _file(part: PartContent) -> dict[str, object]:
    return {
        'path': part.name,
        'starting_time': {'nanoseconds_since_epoch': part.start_ns},
        'duration': {'nanoseconds': part.end_ns - part.start_ns},
        'message_count': part.counts.total(),
    }


def to_yaml(values: Mapping[str, object] | Sequence[object]) -> str:
    """As rosbag2 writes it."""
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)

# SPDX-License-Identifier: Apache-2.0
"""A bag as a traverse: its topics, stamps and poses found, and what is of no use counted."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from bag_helpers import (
    KINDS,
    Record,
    fix,
    image,
    odd,
    odometry,
    pose_covariance,
    pose_stamped,
    split_bag,
    transforms,
    write_bag,
)
from conftest import line_of
from test_bags import TOPIC, picture, spoil_message

from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.geodesy import GeoOrigin
from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.images.message_decoding import ImageError
from ashtkd_ros.traverses.bag_image import parse_source, source_name
from ashtkd_ros.traverses.bag_traverse import BagTraverse
from ashtkd_ros.traverses.frame import BACK, DAMAGED, STRAY, ZERO, Frame
from ashtkd_ros.traverses.traverse import Cursor, TraverseOptions

START = 100.0


def images(count: int = 5, **options: object) -> list[Record]:
    """One a second."""
    return [image(START + i, picture(i), **options) for i in range(count)]


def odoms(count: int = 5, **options: object) -> list[Record]:
    """A metre a second along x, twice a second."""
    return [odometry(START + i / 2, Pose(i / 2, 0, 0), **options) for i in range(2 * count)]


def opened(path: Path, records: list[Record], **options: object) -> BagTraverse:
    return BagTraverse(write_bag(path, records=records), TraverseOptions(**options))


def frames(traverse: BagTraverse, after: Cursor | None = None) -> list[Frame]:
    return [frame for _, frame in traverse.frames(after)]


def refused(path: Path, records: list[Record], **options: object) -> str:
    with pytest.raises(VprError) as error:
        opened(path, records, **options)
    assert str(path) in line_of(error)
    return str(error.value)


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    return tmp_path / 'bag'


# --- images


def test_frames_have_number_stamp_pose_and_image(bag: Path):
    traverse = opened(bag, images() + odoms())
    found = frames(traverse)
    assert [(f.order, f.name) for f in found] == [(i, f'image {i}') for i in range(5)]
    assert [f.stamp for f in found] == [START + i for i in range(5)]
    assert [f.pose.x for f in found] == pytest.approx(range(5))
    for i, frame in enumerate(found):
        assert frame.without_pixels().image.message is None
        for same in (frame, frame.without_pixels()):
            pixels, order = same.pixels()
            assert order == 'RGB' and (pixels == picture(i)).all()
            assert (same.read() == picture(i)).all()
    assert (traverse.count, traverse.has_poses, traverse.frame_id) == (5, True, 'odom')
    assert found[1].source == '101001000000' and traverse.notes == []
    assert traverse.describe() == {
        'source': str(bag),
        'image_topic': TOPIC,
        'poses': '/odom',
        'odometry': 'yes',
    }


def test_compressed_and_grey_images_are_read_as_rgb(bag: Path):
    smooth = cv2.resize(picture(1, (3, 4)), (64, 48))
    grey = smooth[..., 0].copy()
    data = cv2.imencode('.png', smooth[..., ::-1])[1].tobytes()
    records = [image(1.0, data, '/c/compressed'), image(1.0, grey, '/g')]
    found = frames(opened(bag, records, image_topic='/c/compressed'))
    assert (found[0].read() == smooth).all()
    assert found[0].pixels()[1] == 'BGR'
    found = frames(BagTraverse(bag, TraverseOptions(image_topic='g')))
    assert (found[0].read() == grey[..., None]).all()


def test_images_received_at_one_time_are_told_apart(bag: Path):
    equal = [image(START + i / 10, picture(i), received=START) for i in range(3)]
    traverse = opened(bag, equal + images()[1:])
    found = frames(traverse)
    sources = [f.source for f in found]
    assert sources[:4] == ['100000000000', '100000000000#1', '100000000000#2', '101001000000']
    assert all((f.without_pixels().read() == picture(i)).all() for i, f in enumerate(found[:3]))
    assert [source_name(*parse_source(s)) for s in sources] == sources


EQUAL = [image(START + 2 + i / 10, picture(9 + i), received=START + 2.001) for i in range(2)]


@pytest.mark.parametrize(('storage', 'compression'), KINDS)
def test_reading_goes_on_after_any_frame(bag: Path, storage: str, compression: str):
    kind = {'storage': storage, 'compression': compression}
    write_bag(bag, records=images() + EQUAL + odoms(), **kind)
    check_cursors(BagTraverse(bag, TraverseOptions()), 7)


def test_reading_goes_on_after_any_frame_of_ros1_and_of_split_bags(tmp_path: Path):
    ros1 = write_bag(tmp_path / 'b.bag', records=images() + EQUAL)
    check_cursors(BagTraverse(ros1, TraverseOptions()), 7)
    for name, parts in (
        ('ordered', [images()[:2], images()[2:]]),
        ('equal', [[*images()[:2], EQUAL[0]], [EQUAL[1], *images()[2:]]]),
        ('overlapping', [images()[::2], images()[1::2]]),
    ):
        path = split_bag(tmp_path / name, parts)
        check_cursors(BagTraverse(path, TraverseOptions()), sum(map(len, parts)))


def check_cursors(traverse: BagTraverse, count: int) -> None:
    everything = list(traverse.frames())
    assert len(everything) == count
    for i, (cursor, _) in enumerate(everything):
        assert list(traverse.frames(cursor)) == everything[i + 1 :]


def test_parts_that_overlap_have_their_later_images_refused(tmp_path: Path):
    path = split_bag(tmp_path / 'b', [images(), images()[1:3]])
    assert [f.refusal for f in frames(BagTraverse(path, TraverseOptions()))] == [''] * 5 + [
        BACK,
        BACK,
    ]


def test_labels_lie_in_the_bag_or_in_a_file(bag: Path, tmp_path: Path):
    write_bag(bag, records=images())
    (bag / 'labels.csv').write_text('frame,label\n0,hall\n2,17\n')
    found = frames(BagTraverse(bag, TraverseOptions()))
    assert [(f.label, f.order) for f in found[:3]] == [('hall', 0), ('', 1), ('17', 17)]
    (tmp_path / 'other.csv').write_text('frame,label\n1,door\n')
    found = frames(BagTraverse(bag, TraverseOptions(labels=tmp_path / 'other.csv')))
    assert [f.label for f in found[:3]] == ['', 'door', '']
    for number in ('9' * 5000, '\u00b2', '1.5', '-1'):
        (bag / 'labels.csv').write_text(f'frame,label\n{number},hall\n')
        with pytest.raises(VprError, match='it must be a number'):
            BagTraverse(bag, TraverseOptions())
    (bag / 'labels.csv').write_text('frame;label\n1;hall\n1;door\n')
    with pytest.raises(VprError, match='csv:3: frame 1 has another label above'):
        BagTraverse(bag, TraverseOptions())
    (bag / 'labels.csv').write_text('frame,label\none,hall\n')
    with pytest.raises(VprError) as error:
        BagTraverse(bag, TraverseOptions())
    assert 'labels.csv:2: frame is "one"' in line_of(error)


# --- topics


def test_the_only_image_topic_is_taken_whatever_else_there_is(bag: Path):
    records = [*images(), odd(START), image(START, picture(0), '/depth/compressedDepth')]
    assert opened(bag, records).topic.name == TOPIC


def test_several_image_topics_are_listed_with_counts_and_rates(bag: Path):
    records = [*images(), *images(3, topic='/rear')]
    line = refused(bag, records)
    assert '2 topics have images' in line and '--image-topic' in line
    assert f'{TOPIC} (sensor_msgs/msg/Image, 5 messages, 1.0 Hz)' in line
    assert '/rear (sensor_msgs/msg/Image, 3 messages, 0.5 Hz)' in line
    assert BagTraverse(bag, TraverseOptions(image_topic='/rear')).count == 3
    with pytest.raises(VprError) as error:
        BagTraverse(bag, TraverseOptions(image_topic='/odd'))
    assert '/odd is not a topic with images; those are: ' in line_of(error)


def test_a_bag_without_images_says_what_it_holds(bag: Path):
    assert 'holds no images; it holds: /odom (nav_msgs/msg/Odometry, 10' in refused(bag, odoms())


def test_an_empty_bag_is_refused(bag: Path):
    assert 'holds no images; it holds: nothing' in refused(bag, [])


def test_several_pose_topics_are_listed(bag: Path):
    records = [*images(), *odoms(), pose_stamped(START, Pose(1, 0, 0))]
    line = refused(bag, records)
    assert '2 topics have poses; choose with --pose-topic: /odom (nav_msgs/msg/Odometry' in line
    assert '/pose (geometry_msgs/msg/PoseStamped, 1 messages' in line


def test_a_pose_topic_that_is_not_there_is_an_error_and_none_is_a_note(bag: Path):
    line = refused(bag, images(), pose_topic='/odom')
    assert '/odom is not a topic with poses; those are: none' in line
    traverse = BagTraverse(bag, TraverseOptions())
    assert not traverse.has_poses and traverse.notes == [
        'no topic with poses: its images have none'
    ]
    assert all(f.pose is None and not f.refusal for f in frames(traverse))


def test_poses_are_left_out_on_request(bag: Path):
    traverse = opened(bag, images() + odoms(), pose_topic='none')
    assert not traverse.has_poses and not traverse.notes


# --- poses

OPTICAL = (-0.5, 0.5, -0.5, 0.5)  # z ahead, x right
TAKEN = '/tf: the frame camera_optical is taken as optical (z forward), by its axes'
ORIGIN = GeoOrigin(48.0, 11.0, 500.0)
CHAIN = [('map', 'odom', Pose(10, 0, 0)), ('base_link', 'camera_optical', Pose(0, 0, 1, *OPTICAL))]


def latlon(x: float) -> tuple[float, float, float]:
    return tuple(ORIGIN.to_geodetic(np.array([[x, 0.0, 0.0]]))[0])


def along(make, step: float = 0.5, count: int = 10, **options: object) -> list[Record]:
    return [make(START + i * step, Pose(i * step, 0, 0), **options) for i in range(count)]


POSES = {
    'Odometry': (odoms(), 'odom', 0.0),
    'PoseStamped': (along(pose_stamped), 'map', 0.0),
    'PoseWithCovarianceStamped': (along(pose_covariance, frame_id='site'), 'site', 0.0),
    'tf': (
        [transforms(START - 1, CHAIN, '/tf_static')]
        + along(lambda s, p: transforms(s, [('odom', 'base_link', p)])),
        'map',
        10.0,
    ),
    'NavSatFix': (along(lambda s, p: fix(s, *latlon(p.x))), 'map', 0.0),
}


@pytest.mark.parametrize('kind', POSES)
def test_poses_of_every_kind_are_found_by_type(bag: Path, kind: str):
    records, frame_id, offset = POSES[kind]
    traverse = opened(bag, images() + records)
    assert traverse.frame_id == frame_id
    assert traverse.notes == ([TAKEN] if kind == 'tf' else [])
    assert [f.pose.x for f in frames(traverse)] == pytest.approx(
        [offset + i for i in range(5)], abs=1e-6
    )
    assert [f.pose.yaw for f in frames(traverse)] == pytest.approx([0.0] * 5, abs=1e-6)


@pytest.mark.parametrize('kind', POSES)
def test_poses_of_ros1_are_the_same(tmp_path: Path, kind: str):
    records, frame_id, offset = POSES[kind]
    traverse = opened(tmp_path / 'b.bag', images() + records)
    assert (traverse.frame_id, frames(traverse)[2].pose.x) == (frame_id, pytest.approx(offset + 2))


def test_satellite_fixes_give_places_on_earth(bag: Path):
    traverse = opened(bag, images() + POSES['NavSatFix'][0])
    assert (traverse.origin.lat, traverse.origin.alt) == pytest.approx((48.0, 500.0))
    for i, frame in enumerate(frames(traverse)):
        assert frame.geo == pytest.approx(latlon(i)[:2], abs=1e-9)
    elsewhere = GeoOrigin(48.0, 10.9999, 500.0)
    traverse = BagTraverse(bag, TraverseOptions(origin=elsewhere))
    assert traverse.origin == elsewhere and frames(traverse)[0].pose.x == pytest.approx(
        7.46, abs=0.01
    )


def test_tf_is_used_only_without_another_pose_topic_or_by_name(bag: Path):
    records = images() + odoms() + POSES['tf'][0]
    assert opened(bag, records).poses == '/odom'
    named = BagTraverse(bag, TraverseOptions(pose_topic='/tf'))
    assert named.poses == '/tf' and frames(named)[0].pose.x == pytest.approx(10.0)


def test_a_trajectory_file_takes_the_place_of_a_topic(bag: Path, tmp_path: Path):
    rows = [f'{START + i} {10 + i} 0 0 0 0 0 1' for i in range(5)]
    (tmp_path / 'poses.tum').write_text('\n'.join(rows))
    traverse = opened(bag, images() + odoms(), trajectory=tmp_path / 'poses.tum')
    assert [f.pose.x for f in frames(traverse)] == [10, 11, 12, 13, 14]
    assert traverse.describe()['poses'] == str(tmp_path / 'poses.tum')


def test_images_in_gaps_and_beyond_the_ends_have_no_pose(bag: Path):
    poses = [r for i, r in enumerate(odoms()) if i in (2, 3, 7, 8)]  # at 1, 1.5, 3.5 and 4 s
    found = frames(opened(bag, images(6) + poses))
    assert [f.refusal for f in found] == [
        'before the first pose',
        '',
        'gap between poses',
        'gap between poses',
        '',
        'after the last pose',
    ]
    assert [f.pose is None for f in found] == [bool(f.refusal) for f in found]
    wide = BagTraverse(bag, TraverseOptions(max_pose_gap_s=2.0))
    assert [bool(f.refusal) for f in frames(wide)] == [True, *[False] * 4, True]


def test_bad_poses_are_noted(bag: Path):
    bad = odometry(START + 0.2, Pose(float('nan'), 0, 0))
    assert opened(bag, [*images(), *odoms(), bad]).notes == [
        '1 poses of /odom are left out: 1 not finite'
    ]


def test_a_bag_that_is_unpacked_says_where_to(bag: Path, monkeypatch: pytest.MonkeyPatch):
    write_bag(bag, records=images(), compression='file')
    traverse = BagTraverse(bag, TraverseOptions(pose_topic='none'))
    assert any('unpacked' in note and 'TMPDIR' in note for note in traverse.notes)


# --- clocks


def test_receive_times_are_used_on_request(bag: Path):
    late = [image(5.0 + i, picture(i), received=START + i) for i in range(5)]
    poses = [odometry(900.0 - i, Pose(i, 0, 0), received=START + i) for i in range(5)]
    found = frames(opened(bag, late + poses, stamps='receive'))
    assert [f.stamp for f in found] == [START + i for i in range(5)]
    assert [f.pose.x for f in found] == pytest.approx(range(5))


def test_images_after_a_jump_back_are_refused_until_the_clock_is_there_again(bag: Path):
    # The fourth is a little late; then the clock is 5 s behind, for longer than 5 s, and is set.
    stamps = [100.0, 101.0, 102.0, 101.5, *range(99, 105), 110.2, 111.0]
    records = [image(s, picture(i), received=200.0 + i) for i, s in enumerate(stamps)]
    traverse = opened(bag, records + along(pose_stamped, count=30))
    expected = [''] * 4 + [BACK] * 6 + [''] * 2
    assert [f.refusal for f in frames(traverse)] == expected
    check_cursors(traverse, 12)


@pytest.mark.parametrize('stray', [2e9, START + 20])
@pytest.mark.parametrize('rows', [[0], [4], [3, 4], [9]])
def test_a_stray_stamp_costs_no_other_image(bag: Path, rows: list[int], stray: float):
    stamps = [stray + i if i in rows else START + i for i in range(10)]
    records = [image(s, picture(i), received=START + i) for i, s in enumerate(stamps)]
    traverse = opened(bag, records + odoms(10))
    found = frames(traverse)
    assert [i for i, f in enumerate(found) if f.pose is None] == rows
    assert [f.refusal for f in found[:9] if f.refusal] == [STRAY] * len(rows) * (rows != [9])
    check_cursors(traverse, 10)


def test_a_pose_clock_that_jumps_back_says_what_to_do(bag: Path):
    again = [odometry(50.0 + i, Pose(i, 0, 0), received=START + 9 + i) for i in range(5)]
    poses = [*odoms(), *again]
    line = refused(bag, images() + poses)
    assert '/odom: the clock jumps back' in line and '--stamps receive' in line
    assert BagTraverse(bag, TraverseOptions(stamps='receive')).has_poses


def test_zero_stamps_say_what_to_do(bag: Path):
    zero = [image(0.0, picture(i), received=START + i) for i in range(3)]
    assert f'{TOPIC} have stamp zero; use --stamps receive' in refused(bag, zero)
    poses = [odometry(0.0, Pose(i, 0, 0), received=START + i) for i in range(3)]
    shutil.rmtree(bag)
    assert '/odom: all stamps are zero; use --stamps receive' in refused(bag, images() + poses)


def test_a_single_zero_stamp_is_refused(bag: Path):
    records = [*images(2), image(0.0, picture(7), received=START + 1.5)]
    assert [f.refusal for f in frames(opened(bag, records))] == ['', '', ZERO]


def test_a_damaged_message_is_refused_and_the_rest_is_read(bag: Path):
    write_bag(bag, records=images() + odoms())
    spoil_message(spoil_message(bag, 0), 2)
    traverse = BagTraverse(bag, TraverseOptions())
    found = frames(traverse)
    assert [f.refusal for f in found] == [DAMAGED, '', DAMAGED, '', '']
    with pytest.raises(ImageError) as error:
        found[0].without_pixels().pixels()
    assert error.value.kind == DAMAGED
    check_cursors(traverse, 5)


def test_a_bag_of_packed_depth_alone_is_told_what_that_is(bag: Path):
    records = [image(START, picture(0), '/cam/depth/compressedDepth')]
    line = refused(bag, records)
    assert '/cam/depth/compressedDepth is depth packed' in line and 'record the' in line
    assert '--image-topic' not in line and 'none' not in line

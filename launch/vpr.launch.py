# SPDX-License-Identifier: Apache-2.0
"""Start vpr_node: ros2 launch ashtkd_ros vpr.launch.py map_path:=MAP image_topic:=TOPIC."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

# Arguments that are node parameters; given ones override the parameters file.
_PARAMETERS = {
    'map_path': (str, 'folder made by build_map'),
    'model_path': (str, 'network (.onnx); the student that is shipped when not given'),
    'image_transport': (str, 'raw or compressed'),
    'min_confidence': (float, 'a best match below is an unknown place, 0 to 1'),
    'autostart': (bool, 'configure and activate at start'),
}


def _start(context):
    given = {
        name: ParameterValue(LaunchConfiguration(name), value_type=kind)
        for name, (kind, _) in _PARAMETERS.items()
        if LaunchConfiguration(name).perform(context)
    }
    use_sim_time = ParameterValue(LaunchConfiguration('use_sim_time'), value_type=bool)
    return [
        LifecycleNode(
            package='ashtkd_ros',
            executable='vpr_node',
            name='vpr_node',
            namespace=LaunchConfiguration('namespace'),
            parameters=[
                LaunchConfiguration('params_file'),
                {'use_sim_time': use_sim_time, **given},
            ],
            remappings=[('image', LaunchConfiguration('image_topic'))],
            arguments=['--ros-args', '--log-level', LaunchConfiguration('log_level')],
            output='screen',
        )
    ]


def generate_launch_description():
    """The node with its arguments."""
    shipped = PathJoinSubstitution([FindPackageShare('ashtkd_ros'), 'config', 'vpr.yaml'])
    arguments = [
        ('params_file', shipped, 'parameters of the node'),
        ('image_topic', 'image', 'camera topic'),
        ('namespace', '', 'namespace of the node'),
        ('use_sim_time', 'false', 'take the time from /clock'),
        ('log_level', 'info', 'debug, info, warn, error or fatal'),
    ]
    arguments += [(name, '', meaning) for name, (_, meaning) in _PARAMETERS.items()]
    return LaunchDescription(
        [
            DeclareLaunchArgument(name, default_value=default, description=meaning)
            for name, default, meaning in arguments
        ]
        + [OpaqueFunction(function=_start)]
    )

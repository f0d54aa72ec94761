# SPDX-License-Identifier: Apache-2.0
"""The words of a trial: kinds of marks and events, and the names of its topics and services."""

from __future__ import annotations

# marks: what the operator says
START, WRONG, LANDMARK, NOTE = 'start', 'wrong', 'landmark', 'note'
MARK_KINDS = (START, WRONG, LANDMARK, NOTE)

# events: what happened
STARTED, ENDED = 'started', 'ended'  # the trial
PROCESS_DIED, PROCESS_BACK = 'process died', 'process back'
RECORDER_LOST, RECORDER_BACK = 'recorder lost', 'recorder back'  # no sign of life
DISK_FULL, DISK_LOW, MESSAGES_LOST = 'disk full', 'disk low', 'messages lost'
CAMERA_STOPPED, CAMERA_BACK, CAMERA_FAULT = 'camera stopped', 'camera back', 'camera fault'
CLOCK_JUMP = 'clock jump'
GNSS_JUMP, GNSS_LOST, GNSS_BACK = 'gnss jump', 'gnss lost', 'gnss back'
ODOMETRY_STOPPED, ODOMETRY_BACK = 'odometry stopped', 'odometry back'
MAP_SWAPPED = 'map swapped'
NODE_SILENT, NODE_BACK = 'node silent', 'node back'
# what goes as planned, or is the end of something; every other event is a fault
GOOD_NEWS = frozenset(
    (STARTED, ENDED, PROCESS_BACK, RECORDER_BACK, CAMERA_BACK, GNSS_BACK, ODOMETRY_BACK, NODE_BACK)
)

# states of the recorder, beside DISK_FULL and ENDED
RECORDING, CANNOT_WRITE, FAILED = 'recording', 'cannot write', 'failed'

# topics and services, in the namespace of the robot
MARK_TOPIC = 'trial/mark'  # std_msgs/String: "KIND TEXT"
MARKED_TOPIC = 'trial/marked'  # std_msgs/String: a LogEntry as JSON, once it is on the disk
EVENT_TOPIC = 'trial/event'  # std_msgs/String: a LogEntry as JSON, latched (the last 100)
MARK_SERVICE = 'trial/mark_{kind}'  # std_srvs/Trigger, a service for each kind of mark
# /diagnostics: names of the DiagnosticStatus of the recorder and of the watch
RECORDER_STATUS, WATCH_STATUS = 'trial: recorder', 'trial: watch'

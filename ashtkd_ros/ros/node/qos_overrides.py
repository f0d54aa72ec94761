# SPDX-License-Identifier: Apache-2.0
"""QoS overrides of the camera's subscription, which rclpy takes as they are and dies of."""

from __future__ import annotations

from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSPolicyKind,
    ReliabilityPolicy,
)

PREFIX = 'qos_overrides.'
OVERRIDABLE = (
    QoSPolicyKind.HISTORY,
    QoSPolicyKind.DEPTH,
    QoSPolicyKind.RELIABILITY,
    QoSPolicyKind.DURABILITY,
)
_MOST_DEPTH = 2**31 - 1  # DDS counts in 32 bits
_WORDS = {
    'history': HistoryPolicy,
    'reliability': ReliabilityPolicy,
    'durability': DurabilityPolicy,
}


def fault(name: str, value: object) -> str:
    """What is wrong with the value of an override; '' where nothing is, or it has no effect."""
    of, _, policy = name.rpartition('.')
    if not of.endswith('.subscription'):
        return ''
    shown = f'"{value}"' if isinstance(value, str) else str(value)
    if policy == 'depth':
        whole = type(value) is int and 0 <= value <= _MOST_DEPTH
        return '' if whole else f'{shown}; it must be a whole number from 0 to {_MOST_DEPTH}'
    if policy not in _WORDS:
        return ''
    words = [word.lower() for word in _WORDS[policy].__members__ if word == word.upper()]
    words = [word for word in words if word != 'unknown' and not word.startswith('rmw_')]
    if isinstance(value, str) and value.lower() in words:
        return ''
    return f'{shown}; it must be {" or ".join(words)}'

# SPDX-License-Identifier: Apache-2.0
"""Outdoor trials without a field: a simulated robot in the rendered town, and faults by a plan."""

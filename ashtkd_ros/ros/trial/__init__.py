# SPDX-License-Identifier: Apache-2.0
"""Outdoor trials: the processes of a trial, what checks and watches them, and their end."""

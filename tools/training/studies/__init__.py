# SPDX-License-Identifier: Apache-2.0
"""Experiments on trained networks; each prints a table."""

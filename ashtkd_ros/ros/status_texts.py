# SPDX-License-Identifier: Apache-2.0
"""Texts of the node's diagnostics by which other processes know what is the matter."""

DISABLED = 'disabled; call ~/enable with data: true'

# SPDX-License-Identifier: Apache-2.0
"""Traverses to a map of places."""

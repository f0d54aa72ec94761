# SPDX-License-Identifier: Apache-2.0
"""The map of places: a folder that is written whole or not at all."""

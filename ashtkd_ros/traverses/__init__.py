# SPDX-License-Identifier: Apache-2.0
"""The images of one drive in order, each with its pose, whatever they were recorded in."""

# SPDX-License-Identifier: Apache-2.0
"""Image files and image messages as arrays, and the faults of images."""

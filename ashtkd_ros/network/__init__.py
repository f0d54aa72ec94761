# SPDX-License-Identifier: Apache-2.0
"""The network: from an image to its descriptor, from a similarity to a confidence."""

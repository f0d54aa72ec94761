# SPDX-License-Identifier: Apache-2.0
"""The network: an image to a descriptor, a similarity to a confidence."""

# SPDX-License-Identifier: Apache-2.0
"""The one exception whose text is written for users."""


class VprError(Exception):
    """Something the user can mend; the message is one line: what is wrong and what to do."""

# SPDX-License-Identifier: Apache-2.0
"""The one exception whose text is written for users."""

from ashtkd_ros.text import one_line


class VprError(Exception):
    """Something the user can mend; the message is one line: what is wrong and what to do.

    Names that come from files are harmless in it: control characters are escaped.
    """

    def __init__(self, text: str):
        super().__init__(one_line(str(text)))

"""The IDs by which people of one video are chosen, as --list-people shows them."""

import re

from masquerade.errors import UsageError


def parse_ids(text: str | None) -> tuple[int, ...] | None:
    """Parse a list of people's IDs such as "0,3"; None stays None."""
    if text is None:
        return None
    words = [word.strip() for word in text.split(",")]
    wrong = [word for word in words if not re.fullmatch("[0-9]{1,9}", word)]
    if wrong:
        raise UsageError(
            f"IDs are numbers, as in 0,3, and not {wrong[0][:40]!r}; see --list-people."
        )
    return tuple(map(int, words))

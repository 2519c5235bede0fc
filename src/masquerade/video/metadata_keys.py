"""Parse the argument of --metadata, which is checked before any file is opened."""

from masquerade.errors import UsageError


def metadata_keys(metadata: str) -> frozenset[str] | None:
    """Return the names of tags and streams to keep, in lower case; None: all.

    Raises:
        UsageError: it is neither strip nor keep nor a list of names.
    """
    if metadata == "strip":
        return frozenset()
    if metadata == "keep":
        return None
    how, _, names = metadata.partition(":")
    keys = frozenset(name.strip().lower() for name in names.split(",")) - {""}
    if how != "keep" or not keys:
        raise UsageError(
            f"--metadata takes strip, keep or keep:KEY,KEY with names of tags, not {metadata}."
        )
    return keys

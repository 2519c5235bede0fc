"""What templates are compared by on the page: kinds of keys, and the weights of networks.

A page names no file of the machine, so that weights are named when the studio is started, or were
fetched by `masquerade templates fetch`.
"""

import threading
from pathlib import Path

from masquerade.errors import MissingError, UsageError
from masquerade.pipeline.edits import Edits
from masquerade.regions.key_extractors import (
    EXTRACTORS,
    NETWORKS,
    KeyExtractor,
    build_key_extractor,
)
from masquerade.regions.key_weights import PUBLISHED, downloaded_file
from masquerade.regions.template_library import Library
from masquerade.studio import decisions

COLOURS = "colour-hog"


class TemplateKeys:
    """The kinds of keys that can be used here.

    Args:
        first: the kind that a page begins with.
        weights: of that kind's network; None: the fetched ones.

    Raises:
        UsageError: there is no such kind, or the file is not of its network.
        MissingError: its weights are not here.
    """

    def __init__(self, *, first: str = COLOURS, weights: Path | None = None) -> None:
        if weights is not None and first not in NETWORKS:
            raise UsageError(
                f"--key-weights is of a network: name it with --keys, one of {', '.join(NETWORKS)}."
            )
        self.first = first
        self._weights = {first: weights} if weights is not None else {}
        self._built: dict[str, KeyExtractor] = {}
        self._lock = threading.Lock()
        self.extractor(first)

    def extractor(self, kind: str) -> KeyExtractor:
        """What makes keys of a kind.

        Raises:
            UsageError: there is no such kind.
            MissingError: its weights are not here.
        """
        if kind in EXTRACTORS and (missing := self.missing(kind)) is not None:
            raise MissingError(missing)
        with self._lock:
            if kind not in self._built:
                weights = self._weights.get(kind)
                self._built[kind] = build_key_extractor(kind, weights=weights)
            return self._built[kind]

    def missing(self, kind: str) -> str | None:
        """What a kind lacks here, with what to do, in a sentence; None: nothing."""
        if kind not in NETWORKS or kind in self._weights or downloaded_file(kind) is not None:
            return None
        fetched = f", or run `masquerade templates fetch {kind}` once" if _fetchable(kind) else ""
        return (
            f"{kind} needs its weights: start the studio with --keys {kind} --key-weights "
            f"FILE{fetched}."
        )

    def weights_of(self, edits: Edits) -> Path | None:
        """The file of weights for the templates of edits; None: the fetched file, or no file."""
        return self._weights.get(str(edits.settings.get("keys")))

    def fitted(self, edits: Edits) -> Edits:
        """Edits that name the keys which their templates were made with.

        Raises:
            UsageError: they were made with different keys.
        """
        names = set(decisions.template_names(edits))
        kinds = {name: kind for name, kind in template_kinds().items() if name in names}
        if len(set(kinds.values())) > 1:
            listed = ", ".join(f"{name} with {kind}" for name, kind in sorted(kinds.items()))
            raise UsageError(
                f"parts that are hidden together are compared by one kind of keys ({listed}): turn "
                "off those of one kind first."
            )
        kind = next(iter(kinds.values()), COLOURS)
        return decisions.with_keys(edits, None if kind == COLOURS else kind)


def template_kinds() -> dict[str, str]:
    """The kind of keys of each template in the library."""
    library = Library()
    return {name: library.extractor(name).partition(" ")[0] for name in library.names()}


def _fetchable(kind: str) -> bool:
    return PUBLISHED[kind].sha256 is not None

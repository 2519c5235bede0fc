"""The origin and the terms of use of the datasets that a table was measured on."""

from collections.abc import Sequence
from dataclasses import dataclass

from masquerade.benchmark.published import published_datasets
from masquerade.benchmark.suite import Suite

UNKNOWN = "not stated in the suite"


@dataclass(frozen=True, kw_only=True)
class DataOrigin:
    """A dataset as a page and a results file name it."""

    name: str  # as the papers call it, or else the suite
    holds: str  # what is in it, in a sentence; "" where that is not known
    origin: str  # where it comes from
    terms: str  # its licence, or the terms under which it is given


def data_origins(suite: Suite, names: Sequence[str]) -> tuple[DataOrigin, ...]:
    """The origin and the terms of some of a suite's datasets, each once."""
    origins = []
    for name in dict.fromkeys(names):
        source, of = suite.data[name], published_datasets().get(suite.data[name].dataset or "")
        origin, terms = source.origin, source.licence
        if source.draw is not None:
            command = f"masquerade data mimes {source.draw}".strip()
            origin = origin or f"drawn by `{command}`: it shows no real people"
            terms = terms or "none: whoever draws it may use it as they like"
        origins.append(
            DataOrigin(
                name=of.name if of else name,
                holds=of.holds if of else "",
                origin=origin or UNKNOWN,
                terms=terms or UNKNOWN,
            )
        )
    return tuple(dict.fromkeys(origins))


def origins_markdown(origins: Sequence[DataOrigin]) -> str:
    """The section of a results file about its data."""
    lines = ["## Data", ""]
    for origin in origins:
        holds = f" {origin.holds}" if origin.holds else ""
        lines.append(f"- **{origin.name}**:{holds} Origin: {_sentence(origin.origin)}")
        lines.append(f"  **Terms:** {_sentence(origin.terms)}")
    return "\n".join(lines) + "\n"


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."

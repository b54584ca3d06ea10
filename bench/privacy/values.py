"""What the generators hand on: a value, its kind, and the words people write before it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Value:
    """kind: as a finding names it, or its group. words: labels, one of which stands before the value when it
    would be ambiguous alone; empty when its form speaks for itself. names: labels for when that form is lost."""

    kind: str
    text: str
    words: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """One prompt: the texts of its parts in order, and the value hidden in them."""

    value: Value
    parts: tuple[str, ...]

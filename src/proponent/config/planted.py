"""Dataclasses behind the key ``planted`` of a setting: changes of the data whose truth is known."""

from __future__ import annotations

from dataclasses import dataclass, field

from proponent.config.ranges import check_not_negative, check_positive, check_within


@dataclass
class ShortcutConfig:
    """A mark on some examples of one class, and on some queries of other classes.

    Of images, the mark is a bright patch in the lower right corner; of texts, it is a token in place of the first one.
    """

    label: int
    """Class whose training examples are stamped."""
    fraction: float = 0.5
    """Share of the training examples of this class that are stamped."""
    query_fraction: float = 0.5
    """Share of the queries of other classes that are stamped."""
    pixels: int = 4
    """Side of the patch; of no meaning for texts."""
    token: int | None = None
    """Number of the token, for texts; None for images."""

    def __post_init__(self) -> None:
        check_not_negative("planted.shortcut", label=self.label)
        if self.token is not None:
            check_positive("planted.shortcut", token=self.token)
        check_positive("planted.shortcut", fraction=self.fraction, pixels=self.pixels)
        check_within("planted.shortcut", 0, 1, query_fraction=self.query_fraction)
        if self.fraction > 1:
            raise ValueError(f"planted.shortcut: fraction must be at most 1, not {self.fraction}")


@dataclass
class SubclassConfig:
    """Classes that are merged, so that the label does not tell which of them an example is of."""

    groups: list[list[int]]
    """Labels of each group; the label of its examples becomes the number of the group. Every label is in one group."""

    def __post_init__(self) -> None:
        labels = [label for group in self.groups for label in group]
        if len(self.groups) < 2 or not all(self.groups) or len(set(labels)) < len(labels) or min(labels) < 0:
            raise ValueError(
                "planted.subclass: groups must be two or more lists of labels from 0, in which no label is twice, not "
                f"{self.groups}"
            )


@dataclass
class DuplicatesConfig:
    """Training examples that are replaced by copies of other ones."""

    fraction: float = 0.1
    """Share of the training examples that become copies."""

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 0.5:
            raise ValueError(
                f"planted.duplicates: fraction must be above 0 and at most 0.5, not {self.fraction}"
            )


@dataclass
class PlantedConfig:
    """What is known about the data, and stored as their truth; exactly one is given (flipped labels: ``label_noise``)."""

    shortcut: ShortcutConfig | None = None
    subclass: SubclassConfig | None = None
    duplicates: DuplicatesConfig | None = None
    given: list[str] = field(default_factory=list)
    """Names of truths that the dataset factory returns (``Split.truth``); nothing is changed then."""

    def __post_init__(self) -> None:
        changes = sum(kind is not None for kind in (self.shortcut, self.subclass, self.duplicates))
        if changes + bool(self.given) != 1:
            raise ValueError("planted: give exactly one of 'shortcut', 'subclass', 'duplicates' and 'given'")

    @property
    def changes(self) -> tuple[str, ...]:
        """Parts of the data that differ from what the dataset factory returns."""
        if self.shortcut is not None:
            return ("train inputs", "query inputs")
        if self.subclass is not None:
            return ("train labels", "query labels")
        if self.given:
            return ()
        return ("train inputs", "train labels")

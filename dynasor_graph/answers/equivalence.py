"""Equivalence: the one seam to what makes two answers the same answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

from pydantic import BaseModel, ConfigDict

from dynasor_graph.answers.extract import Extraction

__all__ = ["Equivalence", "Form", "Kind"]

Form = Any
"""An answer as its kind reads it: hashable. Answers with equal forms are the same answer."""


@runtime_checkable
class Equivalence(Protocol):
    """What two answers being equal means. `tests/answers/test_kinds.py` holds what every kind does.

    `Grouping` keeps the classes; this says of one answer to which of them it belongs.
    """

    @property
    def kind(self) -> str:
        """Its name, for settings and messages."""
        ...

    @property
    def order_free(self) -> bool:
        """Whether the classes are the same in whatever order the answers come.

        If so, an answer that equals two classes joins them. If not, equality is a matter of degree:
        the answer goes to the class that is nearest, and the order of arrival may tell.
        """
        ...

    @property
    def margin(self) -> float:
        """A comparison that comes out closer to 0 than this counts as fragile; 0: none does."""
        ...

    async def form(self, answer: str) -> Form | None:
        """How the answer is read: equal forms are equal at once. May take its time.

        Returns:
            None if it is no answer of this kind (a syntax error, say): it never votes.
        """
        ...

    def differs(self, a: Form, b: Form) -> bool | None:
        """Of two unequal forms: True or False where it is cheap to tell, None where `compare` has to."""
        ...

    async def compare(self, form: Form, classes: Sequence[Sequence[Form]]) -> Sequence[float]:
        """Compare one answer with classes, in one batch; off the event loop where it takes long.

        Args:
            form: Of the answer.
            classes: The forms in each class, the one that was seen first in front. Where comparing is
                dear, that one stands for its class.

        Returns:
            For each class a number: at least 0 if the answer belongs to it, and the larger the surer.
        """
        ...

    async def gold(self, text: str) -> Form | None:
        """The form of a reference answer, which may be written in other ways than answers are."""
        ...


class Kind(BaseModel):
    """A kind of answers as a setting: plain JSON with the key `kind`. It is its own `Equivalence`.

    A new kind gives `form`, and `compare` where unequal forms may be equal answers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    per_question: ClassVar[frozenset[str]] = frozenset()
    """Settings that a question may bring as fields of its own."""
    local: ClassVar[frozenset[str]] = frozenset()
    """Settings that reach for the machine itself: a server takes them from nobody."""

    stands: ClassVar[Extraction] = "auto"
    """Where answers of the kind stand in a text, unless the settings say otherwise."""

    kind: str

    @property
    def order_free(self) -> bool:
        """See `Equivalence`."""
        return True

    @property
    def margin(self) -> float:
        """See `Equivalence`."""
        return 0.0

    def for_question(self, fields: Mapping[str, Any], gold: str | None) -> Self:
        """The kind with what one question says of it.

        Args:
            fields: What the question brought under the names in `per_question`.
            gold: Its right answer, where it is known.

        Raises:
            ValueError: The question does not say what the kind needs, or wrongly.
        """
        if not fields:
            return self
        return type(self).model_validate(self.model_dump() | dict(fields))

    async def form(self, answer: str) -> Form | None:
        """See `Equivalence`."""
        raise NotImplementedError

    def differs(self, a: Any, b: Any) -> bool | None:
        """See `Equivalence`. By default unequal forms are different answers."""
        return True

    async def compare(self, form: Any, classes: Sequence[Sequence[Any]]) -> Sequence[float]:
        """See `Equivalence`. Not asked where `differs` always tells."""
        raise NotImplementedError

    async def gold(self, text: str) -> Form | None:
        """See `Equivalence`. By default a reference answer is written as answers are."""
        return await self.form(text)

"""Kinds: what answers there are to compare, by name or from JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

from dynasor_graph.answers.behaviour import Behaviour
from dynasor_graph.answers.collection import JsonValue, ListOf, SetOf
from dynasor_graph.answers.embedding import Embedding
from dynasor_graph.answers.equivalence import Kind
from dynasor_graph.answers.expression import Expression
from dynasor_graph.answers.judge import Judge
from dynasor_graph.answers.mathematical import Math
from dynasor_graph.answers.quantity import Number
from dynasor_graph.answers.textual import Choice, Exact
from dynasor_graph.errors import ConfigError, InputError, UnknownName, explain

__all__ = ["KINDS", "Answers", "kind_for", "kind_row", "read_kind"]

KINDS: dict[str, type[Kind]] = {
    one.model_fields["kind"].default: one
    for one in (
        Math,
        Exact,
        Choice,
        Number,
        SetOf,
        ListOf,
        JsonValue,
        Expression,
        Embedding,
        Judge,
        Behaviour,
    )
}
"""Every kind of answers by name. A new one is listed here and in `Answers`."""


def kind_row(spec: Any) -> Any:
    """A kind written as a text, as JSON: `number:tolerance=0.01`, or JSON in a text; else as it is.

    Raises:
        ConfigError: The text names no kind, or is no JSON.
    """
    if not isinstance(spec, str):
        return spec
    text = spec.strip()
    if text.startswith("{"):
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise ConfigError(f"not valid JSON ({error}): {text!r}") from None
    name, _, parameters = (part.strip() for part in text.partition(":"))
    if name not in KINDS:
        raise UnknownName("kind of answers", name, KINDS)
    row: dict[str, Any] = {"kind": name}
    for pair in filter(None, parameters.split(",")):
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals:
            raise ConfigError(f"write parameters as key=value, got {pair!r}")
        try:
            row[key] = json.loads(value)
        except json.JSONDecodeError:
            row[key] = value
    return row


Answers = Annotated[
    Math
    | Exact
    | Choice
    | Number
    | SetOf
    | ListOf
    | JsonValue
    | Expression
    | Embedding
    | Judge
    | Behaviour,
    Field(discriminator="kind"),
    BeforeValidator(kind_row),
]
"""A kind of answers as a setting: its name, its name with parameters, or JSON with the key `kind`."""

_READ: TypeAdapter[Kind] = TypeAdapter(Answers)


def read_kind(spec: str | Mapping[str, Any] | Kind) -> Kind:
    """The kind of answers that `spec` names.

    Raises:
        ConfigError: There is no such kind, or a setting of it does not exist or is out of range.
    """
    try:
        return _READ.validate_python(kind_row(spec))
    except ValidationError as error:
        raise explain(error, "answers") from None


def kind_for(kind: Kind, name: str, fields: Mapping[str, Any], gold: str | None) -> Kind:
    """The kind of answers for one question.

    A question may bring the settings that its kind takes from questions (`Kind.per_question`) as fields
    of its own, and in the field `answer_kind` a kind of its own, or other settings of the run's.

    Args:
        kind: That of the run.
        name: The question's, for messages.
        fields: What the question says beside its text.
        gold: Its right answer, where it is known.

    Raises:
        InputError: What the question says is no such setting, or something is missing.
    """
    own = fields.get("answer_kind")
    try:
        if own is not None:
            row = kind_row(own)
            if isinstance(row, Mapping) and row.get("kind", kind.kind) == kind.kind:
                row = kind.model_dump() | dict(row)
            kind = read_kind(row)
        return kind.for_question(
            {key: fields[key] for key in sorted(kind.per_question) if key in fields}, gold
        )
    except ValidationError as error:
        raise InputError(f"question {name!r}: {explain(error, kind.kind)}") from None
    except ValueError as error:
        raise InputError(f"question {name!r}: {error}") from None

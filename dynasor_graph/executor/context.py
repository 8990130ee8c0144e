"""Context: what a graph is told for one run: plain JSON knobs, the engine by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self, TypeVar

from langgraph.runtime import Runtime
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from dynasor_graph.answers import Answers, Extraction, Math, as_action, extract_answer
from dynasor_graph.budget import Budget
from dynasor_graph.confidence import GROUP_VOTES
from dynasor_graph.engine import DEFAULT
from dynasor_graph.errors import explain
from dynasor_graph.policies import Rule, read_policy
from dynasor_graph.reply import Reply
from dynasor_graph.types import JSON, Sampling

__all__ = ["Context", "resolve"]


class Context(BaseModel):
    """The settings that all algorithms share; each algorithm adds its own knobs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gives: ClassVar[frozenset[str]] = frozenset(
        {"votes", "order", "lengths", "logprobs", "rewards", "probes", "confidence", "groups"}
    )
    """What the algorithm lets a policy look at."""

    has_last_word: ClassVar[bool] = False
    """Whether the algorithm asks the engine once more after its program has ended."""

    engine: str = Field(DEFAULT, description="name of a registered engine")
    policy: str | dict[str, Any] = Field("certaindex", description="a policy's name or its JSON")
    shadow: tuple[str | dict[str, Any], ...] = Field(
        (), description="policies that are asked too and recorded, and never stop anything"
    )
    budget: Budget = Budget()
    sampling: Sampling = Sampling()
    system: str | None = Field(None, description="system message before the question")
    tools: tuple[JSON, ...] = Field((), description="functions that the model may call")
    thinking: bool = Field(False, description="ask the chat template for its thinking mode")
    extract: Extraction = Field("auto", description="where answers stand in a text")
    answers: Answers = Field(Math(), description="what makes two answers the same answer")
    keep_tokens: bool = Field(False, description="put each branch's token ids into its event")
    stream_tokens: int = Field(
        0,
        ge=0,
        description="tokens between two pieces of the text that is shown as it grows; 0: none",
    )
    logprobs: bool = Field(False, description="note each branch's mean log-probability")
    confidences: bool = Field(False, description="note each branch's confidence, as DeepConf")
    group_window: int = Field(2048, ge=1, description="tokens of a group of confidence")
    raw_prompt: bool = Field(
        False, description="the question is the prompt as it is, without the chat template"
    )
    tenant: str = Field("", description="on whose account it runs, for fair shares of the engine")
    seeded_by: str = Field(
        "",
        description="text that seeds derive from beside sampling.seed; by default the program's name",
    )
    account: str | None = Field(None, description="name of the ledger of the run around this")

    @field_validator("policy", mode="before")
    @classmethod
    def _check_policy(cls, value: Any) -> Any:
        return _as_written(value)

    @field_validator("shadow", mode="before")
    @classmethod
    def _check_shadow(cls, value: Any) -> Any:
        return tuple(map(_as_written, value)) if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def _check_reads(self) -> Self:
        for rule in (self.rule, *self.shadow_rules):
            missing = rule.reads() - self.gives
            if missing:
                raise ValueError(
                    f"policy {rule.model_dump()['rule']!r} looks at {', '.join(sorted(missing))}, "
                    f"and this algorithm gives {', '.join(sorted(self.gives))}: "
                    "choose another policy"
                )
        return self

    @model_validator(mode="after")
    def _check_distinct(self) -> Self:
        rules = self.shadow_rules
        for at, rule in enumerate(rules):
            if (first := rules.index(rule)) < at:
                raise ValueError(
                    f"shadow: {self.shadow[at]!r} is the same policy as {self.shadow[first]!r}: "
                    "leave one of them out"
                )
        return self

    @property
    def rule(self) -> Rule:
        """The policy as a value that decides."""
        return read_policy(self.policy)

    @property
    def shadow_rules(self) -> tuple[Rule, ...]:
        """The shadow policies as values, in their order."""
        return tuple(map(read_policy, self.shadow))

    @property
    def is_one_chain(self) -> bool:
        """Whether the text that is shown as it grows is what the program says at the end."""
        return False

    def answer_in(self, text: str, *, finished: bool) -> str | None:
        """The answer that a text gives, or None; where tools are given, the calls in it.

        So branches that call tools vote on what to do.

        Args:
            text: Of a branch or a solution.
            finished: Whether it came to its own end.
        """
        if self.tools and (calls := Reply.of(text, tools=True).tool_calls):
            return as_action(calls)
        where = self.answers.stands if self.extract == "auto" else self.extract
        return extract_answer(text, where, finished=finished)

    @property
    def wants_logprobs(self) -> bool:
        """Whether log-probabilities are read or recorded; they cost the engine time."""
        voted = getattr(self, "vote", None) == "confidence"
        return self.logprobs or voted or "logprobs" in self.reads()

    @property
    def wants_groups(self) -> bool:
        """Whether the confidence of tokens is read or recorded; it costs the engine much time."""
        voted = getattr(self, "vote", None) in GROUP_VOTES
        return self.confidences or voted or "groups" in self.reads()

    def reads(self) -> frozenset[str]:
        """What the policy and its shadows look at together; see `Rule.reads`."""
        return self.rule.reads().union(*(rule.reads() for rule in self.shadow_rules))


def _as_written(policy: Any) -> Any:
    """A policy that can be read, as it was given; a value or a file's content as its JSON."""
    rule = read_policy(policy)
    # A file may change, and a run that is resumed or replayed has to find the same policy.
    in_file = isinstance(policy, str) and policy.strip().endswith(".json")
    return rule.model_dump(mode="json") if in_file or isinstance(policy, Rule) else policy


C = TypeVar("C", bound=Context)


def resolve(runtime: Runtime[Any], kind: type[C]) -> C:
    """The settings for a graph, wherever it runs.

    Its own context counts first. As a subgraph a graph is handed its parent's context, whatever
    that is: then the parent's `dynasor` (attribute or key), then what a parent of this library
    shares, then the defaults.

    Raises:
        ConfigError: What the parent gives is no setting of this graph, or out of range.
    """
    given = runtime.context
    if isinstance(given, kind):
        return given
    inner = given.get("dynasor") if isinstance(given, Mapping) else getattr(given, "dynasor", None)
    for found in (inner, given):
        if isinstance(found, kind):
            return found
        if isinstance(found, Context):
            # Only what was set: an algorithm keeps its own defaults for the rest.
            shared = found.model_fields_set & set(Context.model_fields)
            return _checked(kind, {name: getattr(found, name) for name in shared})
    return _checked(kind, inner if isinstance(inner, Mapping) else {})


def _checked(kind: type[C], values: Mapping[str, Any]) -> C:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise explain(error, kind.__name__) from None

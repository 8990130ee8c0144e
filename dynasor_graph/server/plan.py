"""Plan: what a request asks of the runner: questions, an algorithm, and its settings, checked."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from dynasor_graph.algorithms import ALGORITHMS, Algorithm
from dynasor_graph.errors import ConfigError, InputError
from dynasor_graph.executor import Context, Judged
from dynasor_graph.questions import Question
from dynasor_graph.runner import configure
from dynasor_graph.server.draft import Draft
from dynasor_graph.server.effort import EFFORTS, knob_of, scaled
from dynasor_graph.server.limits import Limits
from dynasor_graph.server.refusal import Refusal
from dynasor_graph.server.requests import Asked, ChatRequest, CompletionRequest
from dynasor_graph.types import JSON

__all__ = ["DIRECT", "Job", "Offer", "plan"]

DIRECT: Final = "direct"
"""One branch, whose text is the reply."""

_DIRECT_IS: Final[JSON] = {"branches": 1, "policy": "fixed"}
_SHARED: Final = frozenset({"budget", "sampling", "system", "thinking"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What the server offers.

    Attributes:
        model: Its name, as clients write it.
        algorithm: What the plain name of the model stands for.
        settings: The operator's settings of that algorithm; what is no algorithm's own holds for all.
        reward: Name of a registered reward; None: algorithms that need one are not offered.
        limits: How much a request may ask.
        chunk: Tokens between two pieces of a stream, >= 1.
    """

    model: str
    algorithm: str = "self_consistency"
    settings: JSON = field(default_factory=dict)
    reward: str | None = None
    limits: Limits = field(default_factory=Limits)
    chunk: int = 8

    @property
    def algorithms(self) -> list[str]:
        """What may follow the @ in a model's name."""
        judged = self.reward is not None
        return [DIRECT] + [
            name
            for name, algorithm in ALGORITHMS.items()
            if judged or not issubclass(algorithm.settings, Judged)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One program that is to run.

    Attributes:
        question: What is asked; its id names the program.
        algorithm: Which one.
        name: Of the algorithm, as clients know it: "direct" is one, too.
        settings: Its settings, but for the engine.
        context: The same, checked.
        tools: Whether the model is given tools.
    """

    question: Question
    algorithm: Algorithm
    name: str
    settings: JSON
    context: Context
    tools: bool


def plan(asked: Asked, offer: Offer, *, tenant: str, seconds: float | None = None) -> list[Job]:
    """The programs that a request asks for, one for each choice.

    Args:
        asked: The request.
        offer: What the server offers.
        tenant: On whose account they run.
        seconds: A deadline that was asked for beside the body.

    Raises:
        Refusal: It asks nothing, for what there is not, or for too much.
    """
    name, extra = _chosen(asked, offer)
    algorithm = ALGORITHMS["self_consistency" if name == DIRECT else name]
    draft = Draft(_defaults(name, algorithm, offer))
    draft.put_extra(extra)
    draft.put_fields(asked)
    if seconds is not None:
        draft.put("budget.seconds", seconds, "x-dynasor-deadline")
    if isinstance(asked, ChatRequest):
        _put_chat(draft, asked, algorithm, name)
    settings = draft.values
    settings |= {"tenant": tenant, "stream_tokens": offer.chunk if asked.stream else 0}
    if isinstance(asked, CompletionRequest):
        settings["raw_prompt"] = True
    if issubclass(algorithm.settings, Judged):
        settings["reward"] = offer.reward
    context = _checked(algorithm, settings)
    _check_limits(context, offer.limits, draft.params)
    settings["budget"] = {
        "seconds": offer.limits.seconds,
        "tokens": offer.limits.tokens,
        **{k: v for k, v in settings["budget"].items() if v is not None},
    }
    jobs = []
    for at, question in enumerate(_questions(asked, offer.limits)):
        own = {**settings, "seeded_by": str(at)}
        jobs.append(
            Job(
                question=question,
                algorithm=algorithm,
                name=name,
                settings=own,
                context=_checked(algorithm, own),
                tools=bool(settings.get("tools")),
            )
        )
    return jobs


def _chosen(asked: Asked, offer: Offer) -> tuple[str, JSON]:
    """The algorithm's name, and the settings that came with it."""
    extra = dict(asked.x_dynasor or {})
    model, at, name = asked.model.rpartition("@")
    if asked.model == offer.model:
        model, at, name = asked.model, "", ""
    if model != offer.model:
        raise Refusal(
            404,
            f"there is no model {asked.model!a}: this server has {offer.model!r}, and "
            f"{offer.model}@ALGORITHM; see /v1/models",
            code="model_not_found",
            param="model",
        )
    inside = extra.pop("algorithm", None)
    if inside is not None and at and inside != name:
        raise Refusal(
            400,
            f"the model's name says {name!r} and x_dynasor.algorithm {inside!a}: give one",
            code="invalid_value",
            param="x_dynasor.algorithm",
        )
    found = name if at else inside if inside is not None else offer.algorithm
    if found not in offer.algorithms:
        known = isinstance(found, str) and found in ALGORITHMS
        why = "it needs a reward, and this server has none" if known else "there is none"
        raise Refusal(
            404 if at else 400,
            f"algorithm {found!a}: {why}; there are: {', '.join(offer.algorithms)}",
            code="model_not_found" if at else "invalid_value",
            param="model" if at else "x_dynasor.algorithm",
        )
    return str(found), extra


def _defaults(name: str, algorithm: Algorithm, offer: Offer) -> JSON:
    """The settings of who asks for nothing: the algorithm's own, and the operator's over them."""
    plain = algorithm.settings()
    values: JSON = {
        "sampling": plain.sampling.model_dump(),
        "budget": plain.budget.model_dump(),
    }
    for key, value in offer.settings.items():
        if key in {"sampling", "budget"}:
            values[key] |= dict(value)
        elif key in _SHARED or name == offer.algorithm:
            values[key] = value
    return values | (_DIRECT_IS if name == DIRECT else {})


def _put_chat(draft: Draft, asked: ChatRequest, algorithm: Algorithm, name: str) -> None:
    effort, template = asked.reasoning_effort, asked.chat_template_kwargs
    if template is not None and template.enable_thinking is not None:
        draft.put("thinking", template.enable_thinking, "chat_template_kwargs.enable_thinking")
    if effort is not None:
        known = {key for key in draft.params if "." not in key or key.startswith("sampling")}
        if (name == DIRECT or effort == "none") and "thinking" not in known:
            draft.put("thinking", effort != "none", "reasoning_effort")
        if name != DIRECT:
            base = _checked(algorithm, draft.values)
            path = knob_of(algorithm.settings) or "sampling.max_tokens"
            if EFFORTS[effort] != 1 or path in draft.params:
                draft.put(*scaled(effort, base), "reasoning_effort")
    if asked.given_tools:
        draft.put("tools", asked.given_tools, "tools")


def _checked(algorithm: Algorithm, settings: JSON) -> Context:
    try:
        return configure(algorithm, **settings)
    except ConfigError as error:
        raise Refusal(400, str(error), code="invalid_value", param="x_dynasor") from None


def _check_limits(context: Context, limits: Limits, params: Mapping[str, str]) -> None:
    knob = knob_of(type(context))
    asked: list[tuple[str, float | None, float | None]] = [
        ("budget.seconds", context.budget.seconds, limits.seconds),
        ("budget.tokens", context.budget.tokens, limits.tokens),
        ("budget.branches", context.budget.branches, limits.branches),
        ("budget.concurrency", context.budget.concurrency, limits.branches),
    ]
    if knob is not None:
        asked.append((knob, getattr(context, knob), limits.branches))
    for path, value, most in asked:
        if value is not None and most is not None and value > most and path in params:
            raise Refusal(
                400,
                f"{params[path]}: this server allows {most:g}, got {value:g}",
                code="limit_exceeded",
                param=params[path],
            )


def _questions(asked: Asked, limits: Limits) -> list[Question]:
    prompts = len(asked.prompts) if isinstance(asked, CompletionRequest) else 1
    count = asked.n or 1
    if count * prompts > limits.choices:
        raise Refusal(
            400,
            f"n: this server allows {limits.choices} programs in a request, got {count * prompts}",
            code="limit_exceeded",
            param="n",
        )
    try:
        if isinstance(asked, CompletionRequest):
            return [Question(id=_name(), text=p) for p in asked.prompts for _ in range(count)]
        if not isinstance(asked, ChatRequest):
            raise TypeError(f"no kind of request: {type(asked).__name__}")
        chat = [message.to_message() for message in asked.messages]
        return [Question.of(chat, name=_name()) for _ in range(count)]
    except InputError:
        param = "prompt" if isinstance(asked, CompletionRequest) else "messages"
        raise Refusal(
            400, f"{param}: it asks nothing: no text of a user", code="invalid_value", param=param
        ) from None


def _name() -> str:
    return uuid.uuid4().hex

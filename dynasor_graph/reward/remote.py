"""A reward model on a server over HTTP: `vllm serve MODEL --runner pooling`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from dynasor_graph.engine.http import Server
from dynasor_graph.engine.own_loop import OwnLoop
from dynasor_graph.errors import EngineError, EngineRefused, RewardError
from dynasor_graph.reward.base import Partial, Score
from dynasor_graph.reward.reading import (
    Normalise,
    Reads,
    Steps,
    all_of,
    chance,
    chat,
    check_labels,
    check_length,
    check_settings,
    join_steps,
    tagged,
)

__all__ = ["RemoteReward"]


class RemoteReward:
    """Judges with a reward model that vLLM's own server runs.

    The server does not say what it found in its prefix cache: `Score.computed` counts all tokens.

    Args:
        url: Base URL, with or without `/v1`.
        model: The model to ask for; by default the first that the server lists.
        normalise: As for `PoolingReward`.
        steps: As for `PoolingReward`.
        step_tag: As for `PoolingReward`. The server has to know its token as well:
            `--pooler-config '{"task": "token_classify", "tok_pooling_type": "STEP",
            "step_tag_id": ID}'`.
        step_ends: As for `PoolingReward`.
        reads: As for `PoolingReward`. With "text" the server renders the chat, and it is asked once
            for each solution instead of once for the batch.
        api_key: Sent as the bearer token. Servers without keys take any.
        timeout_s: Seconds without a byte after which a request fails.
        max_connections: Most connections at a time.

    Raises:
        ConfigError: A setting is wrong, or, on opening, does not suit the model.
        EngineUnreachable: On opening: nothing answers at `url`.
        EngineRefused: On opening: the server wants another key, or its model judges nothing.
        UnknownName: On opening: the server has no such model.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        normalise: Normalise | None = None,
        steps: Steps = "last",
        step_tag: str | None = None,
        step_ends: str = "\n",
        reads: Reads = "tokens",
        api_key: str = "none",
        timeout_s: float = 600.0,
        max_connections: int = 64,
    ) -> None:
        check_settings(
            normalise=normalise, steps=steps, reads=reads, step_tag=step_tag, step_ends=step_ends
        )
        self._server = Server(
            url, api_key=api_key, timeout_s=timeout_s, max_connections=max_connections
        )
        self.name = model or self._server.root
        self._model, self._context = model or "", 0
        self._normalise, self._steps, self._reads = normalise, steps, reads
        self._tag, self._ends = step_tag, step_ends
        self._path = "/classify" if step_tag is None else "/pooling"

    async def __aenter__(self) -> Self:
        self._own = OwnLoop("reward")
        self._own.start()
        try:
            await self._own.run(self._open())
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._close()

    async def _open(self) -> None:
        self._server.open()
        self._model, context = await self._server.model(self._model)
        self.name = self._model
        (rows,) = await self._ask(1, {"input": [[1]]})
        for row in rows:  # none of a model that judges steps: there is no tag
            check_labels(self.name, len(row), self._normalise)
        self._context = context

    async def _close(self) -> None:
        self._context = 0
        await self._own.run(self._server.close())
        await self._own.stop()

    # Judging -----------------------------------------------------------------------------------

    async def score(self, partials: Sequence[Partial]) -> list[Score]:
        """Judge solutions."""
        if not self._context:
            raise EngineError("the reward model is not open: use it inside `async with`")
        if not partials:
            return []
        return await self._own.run(self._score(partials))

    async def _score(self, partials: Sequence[Partial]) -> list[Score]:
        if self._reads == "text":
            return await all_of(self._score_text(partial) for partial in partials)
        inputs = [[*partial.prompt, *partial.tokens] for partial in partials]
        for ids in inputs:
            check_length(self.name, len(ids), self._context)
        answers = await self._ask(len(inputs), {"input": inputs})
        return [
            Score(chance(self._only(rows), self._normalise), len(ids))
            for rows, ids in zip(answers, inputs, strict=True)
        ]

    async def _score_text(self, partial: Partial) -> Score:
        text, expected = partial.text, 1
        if self._tag is not None:
            text, expected = tagged(text, self._tag, self._ends)
        body = {"messages": chat(partial, text), "add_generation_prompt": False}
        answer = await self._call(body)
        (rows,) = self._rows(answer, 1)
        if len(rows) != expected:
            raise RewardError(
                f"{self._server.root} judged {len(rows)} steps of {expected}: start it with "
                f"--pooler-config and the step_tag_id of {self._tag!r}"
            )
        value = join_steps([chance(row, self._normalise) for row in rows], self._steps)
        return Score(value, int((answer.get("usage") or {}).get("prompt_tokens", 0)))

    async def _ask(self, count: int, body: dict[str, Any]) -> list[list[list[float]]]:
        """Rows of numbers for each input."""
        answer = await self._call({"add_special_tokens": False, **body})
        return self._rows(answer, count)

    async def _call(self, body: dict[str, Any]) -> Any:
        absent = EngineRefused(
            f"{self._server.root} has no {self._path}: serve a model with a classification head "
            f"(vllm serve MODEL --runner pooling)"
        )
        # The numbers as the head gives them: a sigmoid of a sigmoid would squeeze them.
        fixed = {"model": self._model, "use_activation": False}
        return await self._server.call(
            "POST", self._path, fixed | body, absent=absent, broke=bool(self._context)
        )

    def _rows(self, answer: Any, count: int) -> list[list[list[float]]]:
        try:
            data = sorted(answer["data"], key=lambda item: int(item["index"]))
            if self._tag is None:
                found = [[[float(number) for number in item["probs"]]] for item in data]
            else:
                found = [[[float(n) for n in row] for row in item["data"]] for item in data]
        except (TypeError, KeyError, ValueError) as error:
            raise EngineRefused(
                f"{self._server.root}{self._path} sent what is no judgement ({error!r}): is this "
                f"vLLM's server?"
            ) from None
        if len(found) != count:
            raise EngineRefused(
                f"{self._server.root}{self._path} gave {len(found)} judgements of {count}"
            )
        return found

    @staticmethod
    def _only(rows: list[list[float]]) -> list[float]:
        (row,) = rows
        return row

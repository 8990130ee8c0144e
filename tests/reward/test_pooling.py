"""Reward models in this process: their numbers, what is refused, and steps that are judged each."""

from __future__ import annotations

import asyncio
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import pytest

from dynasor_graph.abacus import reward_path
from dynasor_graph.engine.pooler import Pooled, VllmPooler
from dynasor_graph.errors import ConfigError, EngineDied, EngineError, EngineStartError, RewardError
from dynasor_graph.reward import Partial, Score, score
from dynasor_graph.reward.pooling import PoolingReward
from dynasor_graph.types import Message
from tests.conftest import DTYPE, require_vllm
from tests.reward.conftest import partial, solved, tokenizer

pytestmark = pytest.mark.anyio

TAG = "<extra_0>"
QUESTION = "1 + 1, then + 3?"
PARTIAL = Partial(
    question=QUESTION, prompt=(5, 6), tokens=(7, 8, 9), text="1 + 1 = 2\n2 + 3 = 5", ended=True
)


class FakePooler:
    """Says the same of every text, and remembers what it was given."""

    model, context = "fake", 8

    def __init__(self, *rows: list[float], step_tag: str | None = None) -> None:
        self.rows, self.labels, self.step_tag = list(rows), len(rows[0]), step_tag
        self.given: list[list[int]] = []
        self.chats: list[Sequence[Message]] = []
        self.open = False

    async def pool(self, token_ids: Sequence[int]) -> Pooled:
        self.given.append(list(token_ids))
        return Pooled(self.rows, computed=len(token_ids))

    async def render(self, messages: Sequence[Message]) -> list[int]:
        self.chats.append(messages)
        return [1, 2, 3]

    async def __aenter__(self) -> Self:
        self.open = True
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.open = False


async def said(pooler: FakePooler, one: Partial = PARTIAL, **options: Any) -> Score:
    async with PoolingReward(pooler, **options) as reward:
        (found,) = await score(reward, [one])
        return found


# Numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "options", "value"),
    [
        pytest.param([0.0], {}, 0.5, id="one-is-a-sigmoid"),
        pytest.param([2.0], {"normalise": "sigmoid"}, 1 / (1 + math.exp(-2)), id="sigmoid"),
        pytest.param([-1e4], {}, 0.0, id="very-bad"),
        pytest.param([1e4], {}, 1.0, id="very-good"),
        pytest.param([0.25], {"normalise": "none"}, 0.25, id="as-it-is"),
        pytest.param([1.0, 3.0], {}, 1 / (1 + math.exp(-2)), id="two-are-a-softmax"),
        pytest.param([1e4, -1e4], {}, 0.0, id="two-far-apart"),
        pytest.param([0.9, 0.1], {"normalise": "none"}, 0.1, id="last-of-two"),
        pytest.param([0, 0, 0, 0], {"normalise": "softmax"}, 0.25, id="last-of-four"),
    ],
)
async def test_a_models_numbers_become_one(
    row: list[float], options: dict[str, Any], value: float
) -> None:
    assert (await said(FakePooler(row), **options)).value == pytest.approx(value)


@pytest.mark.parametrize(
    ("steps", "value"),
    [("last", 0.4), ("min", 0.2), ("mean", 0.5), ("product", 0.072)],
)
async def test_the_scores_of_steps_become_one(steps: Any, value: float) -> None:
    pooler = FakePooler([0.9], [0.2], [0.4], step_tag=TAG)
    one = Partial(question="", prompt=(), tokens=(), text="a\nb\nc", ended=True)
    found = await said(pooler, one, steps=steps, reads="text", normalise="none")
    assert found.value == pytest.approx(value)


@pytest.mark.parametrize(
    ("row", "options", "message"),
    [
        pytest.param([0, 0, 0], {}, "has 3 labels, and a reward model has one or two", id="three"),
        pytest.param([0, 0], {"normalise": "sigmoid"}, "two labels: take .*softmax", id="two"),
        pytest.param([0], {"normalise": "softmax"}, "one label.*always 1.*sigmoid", id="one"),
    ],
)
async def test_numbers_that_cannot_become_one_are_refused_and_the_model_closed(
    row: list[float], options: dict[str, Any], message: str
) -> None:
    pooler = FakePooler(row)
    with pytest.raises(ConfigError, match=message):
        await said(pooler, **options)
    assert not pooler.open


async def test_numbers_that_are_no_chance_are_told() -> None:
    with pytest.raises(RewardError, match=r"'fake' gave 3.0: a score must be in \[0, 1\]"):
        await said(FakePooler([3.0]), normalise="none")


# What it reads -------------------------------------------------------------------------------


async def test_tokens_are_read_exactly_as_they_were_generated() -> None:
    pooler = FakePooler([0.0])
    assert (await said(pooler)).computed == 5
    assert (pooler.given, pooler.chats) == ([[5, 6, 7, 8, 9]], [])


@pytest.mark.parametrize(
    ("tag", "options", "text", "content", "rows"),
    [
        pytest.param(None, {}, "a\nb", "a\nb", 1, id="no-tag"),
        pytest.param(TAG, {}, "a\n\nb\n", f"a{TAG}b{TAG}", 2, id="lines"),
        pytest.param(TAG, {}, "a", f"a{TAG}", 1, id="one-line"),
        pytest.param(TAG, {}, "", TAG, 1, id="nothing-yet"),
        pytest.param(TAG, {}, f"a{TAG}\nb", f"a{TAG}b{TAG}", 2, id="tag-in-the-text"),
        pytest.param(
            TAG, {"step_ends": "\n\n"}, "a\nb\n\nc", f"a\nb{TAG}c{TAG}", 2, id="paragraphs"
        ),
    ],
)
async def test_text_is_read_as_a_chat_with_a_tag_after_each_step(
    tag: str | None, options: dict[str, Any], text: str, content: str, rows: int
) -> None:
    pooler = FakePooler(*[[0.0]] * rows, step_tag=tag)
    one = Partial(question=QUESTION, prompt=(5,), tokens=(6,), text=text, ended=False)
    await said(pooler, one, reads="text", **options)
    assert pooler.given == [[1, 2, 3]]
    assert pooler.chats == [
        [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": content}]
    ]


async def test_other_rows_than_steps_are_told() -> None:
    with pytest.raises(RewardError, match="judged 1 steps of 2: does its chat template"):
        await said(FakePooler([0.0], step_tag=TAG), reads="text")


async def test_what_is_too_long_says_both_lengths_and_the_cure() -> None:
    long = Partial(question="", prompt=(5,) * 5, tokens=(6,) * 4, text="", ended=False)
    with pytest.raises(RewardError, match=r"has 9 tokens .* 'fake' holds 8: .*max_tokens"):
        await said(FakePooler([0.0]), long)


async def test_a_pooler_without_a_cache_has_nothing_to_forget() -> None:
    async with PoolingReward(FakePooler([0.0])) as reward:
        await reward.forget_prefixes()


def test_options_of_a_model_are_not_for_a_pooler() -> None:
    with pytest.raises(ConfigError, match="a pooler takes no max_num_seqs"):
        PoolingReward(FakePooler([0.0]), max_num_seqs=4)


# On vLLM -------------------------------------------------------------------------------------


@pytest.mark.vllm
async def test_the_bundled_model_says_what_transformers_says_and_tells_right_from_wrong(
    pooling_reward: PoolingReward,
) -> None:
    torch = pytest.importorskip("torch")
    from transformers import LlamaForSequenceClassification

    found = solved(20)
    right = [partial(one.question, one.right, ended=True) for one in found]
    wrong = [partial(one.question, one.wrong, ended=True) for one in found]
    values = [one.value for one in await score(pooling_reward, [*right, *wrong])]
    better = sum(good > bad for good, bad in zip(values[:20], values[20:], strict=True))
    assert better >= 18

    model = LlamaForSequenceClassification.from_pretrained(reward_path(), dtype=torch.float32)
    with torch.no_grad():
        for one, value in list(zip([*right, *wrong], values, strict=True))[::4]:
            logits = model(torch.tensor([[*one.prompt, *one.tokens]])).logits
            assert value == pytest.approx(torch.sigmoid(logits).item(), abs=0.02)


@pytest.mark.vllm
async def test_who_forgets_prefixes_computes_a_text_anew(pooling_reward: PoolingReward) -> None:
    found = solved(1)[0]
    one = partial(found.question, found.right, ended=True)
    await pooling_reward.forget_prefixes()
    (first,) = await score(pooling_reward, [one])
    (again,) = await score(pooling_reward, [one])
    await pooling_reward.forget_prefixes()
    (anew,) = await score(pooling_reward, [one])
    assert first.computed == len(one.prompt) + len(one.tokens) == anew.computed
    assert again.computed < first.computed


@pytest.mark.vllm
async def test_it_reads_text_by_its_own_template(pooling_reward: PoolingReward) -> None:
    reader = PoolingReward(pooling_reward._pooler, reads="text")
    one = partial(solved(1)[0].question, ["Nothing yet."])
    (found,) = await score(reader, [one])
    end = tokenizer().encode("<|end|>", add_special_tokens=False)
    ended = Partial(question="", prompt=one.prompt, tokens=(*one.tokens, *end), text="", ended=True)
    assert found.value == pytest.approx((await score(pooling_reward, [ended]))[0].value, abs=1e-3)


@pytest.mark.vllm
@pytest.mark.parametrize(
    ("model", "options", "error", "message"),
    [
        pytest.param("abacus-7m", {}, ConfigError, "no head that judges: take a", id="writes"),
        pytest.param(
            "abacus-7m-reward", {"step_tag": "<extra_0>", "reads": "text"}, ConfigError,
            "'<extra_0>' is . tokens of .*, and must be one", id="tag-of-many-tokens",
        ),
        pytest.param(
            "abacus-7m-reward", {"no_such": 1}, EngineStartError, "no_such", id="argument"
        ),
    ],
)  # fmt: skip
async def test_a_model_that_does_not_judge_is_refused_on_opening(
    pooling_reward: PoolingReward,  # so that the imports are done
    model: str,
    options: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        async with PoolingReward(model, **options):
            pass


@pytest.mark.vllm
async def test_a_reward_that_is_not_open_says_so() -> None:
    require_vllm()
    with pytest.raises(RewardError, match="not open: use it inside `async with`"):
        await score(PoolingReward(), [PARTIAL])


def make_step_model(folder: Path) -> Any:
    """Write a small random Qwen2ForProcessRewardModel; gives the function that it computes."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoTokenizer, Qwen2Config, Qwen2Model

    words = AutoTokenizer.from_pretrained(reward_path())
    words.add_special_tokens({"additional_special_tokens": [TAG]})
    words.save_pretrained(folder)
    shutil.copy(reward_path() / "chat_template.jinja", folder)
    torch.manual_seed(5)
    config = Qwen2Config(
        vocab_size=len(words),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.2,
    )
    config.architectures = ["Qwen2ForProcessRewardModel"]
    config.num_labels = 2
    config.save_pretrained(folder)
    body = Qwen2Model(config).eval()
    head = torch.nn.Sequential(
        torch.nn.Linear(128, 128), torch.nn.ReLU(), torch.nn.Linear(128, 2)
    ).eval()
    weights = {f"model.{name}": value for name, value in body.state_dict().items()}
    weights |= {f"score.{name}": value for name, value in head.state_dict().items()}
    save_file(weights, folder / "model.safetensors")

    @torch.no_grad()
    def chances(ids: list[int]) -> list[float]:
        logits = head(body(torch.tensor([ids])).last_hidden_state[0])
        tag = words.convert_tokens_to_ids(TAG)
        return [row[1].item() for row, i in zip(logits.softmax(-1), ids, strict=True) if i == tag]

    return chances


@pytest.mark.vllm
async def test_a_model_that_judges_steps_gives_one_score_a_step(tmp_path: Path) -> None:
    require_vllm()
    chances = make_step_model(tmp_path)
    pooler = VllmPooler(tmp_path, step_tag=TAG, thread=False, dtype=DTYPE, max_num_seqs=8)
    expected: list[list[float]] = []
    found: dict[str, list[float]] = {}
    lines = [one.right for one in solved(3)]
    parts = [partial(f"Question {n}", steps) for n, steps in enumerate(lines)]
    async with PoolingReward(pooler, reads="text", steps="last") as reward:
        for one, steps in zip(parts, lines, strict=True):
            text = "".join(step + TAG for step in steps)
            messages: list[Message] = [
                {"role": "user", "content": one.question},
                {"role": "assistant", "content": text},
            ]
            ids = await pooler.render(messages)
            expected.append(chances(ids))
            assert len((await pooler.pool(ids)).rows) == len(steps) == len(expected[-1])
        found["last"] = [one.value for one in await score(reward, parts)]
        reward = PoolingReward(pooler, reads="text", steps="min")
        found["min"] = [one.value for one in await score(reward, parts)]
        unread = asyncio.ensure_future(pooler.pool([1] * 500))
        await asyncio.sleep(0)
    with pytest.raises(EngineDied, match="closed while it was judging"):
        await unread
    assert found["last"] == pytest.approx([row[-1] for row in expected], abs=0.01)
    assert found["min"] == pytest.approx([min(row) for row in expected], abs=0.01)
    with pytest.raises(EngineError, match="not open"):
        await pooler.pool([1])

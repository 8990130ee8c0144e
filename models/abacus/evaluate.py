"""Measure abacus-7m and its reward model, by default the bundled ones.

python -m models.abacus.evaluate --json runs/abacus/evaluation.json

First the spread: direct answers by the number of steps, and what the reward model makes of them.
Then reasoning traces, and what the model answers when a trace is cut and it is forced to.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Sequence
from math import isnan
from pathlib import Path
from statistics import fmean
from typing import Final

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from dynasor_graph.abacus import FAMILIES, PROBE, Problem, chat, make, model_path, reward_path
from dynasor_graph.abacus.chat import THINK
from dynasor_graph.abacus.questions import TRAINED_STEPS
from models.abacus import devices, measures, options
from models.abacus.sampling import (
    boxed,
    encode,
    load_model,
    load_tokenizer,
    require_model,
    sample,
)
from models.abacus.scoring import score

_DIRECT_TOKENS: Final = 420
_THINK_TOKENS: Final = 1150
_CUTS: Final = (0, 32, 64, 96, 128, 192, 256, 320, 384, 512, 640)
_HARDER: Final = 6
_SLOW: Final = (
    "the full measurement takes hours on 2 cores. For a quick look, lower --questions and --count."
)


class Evaluation:
    """The language model under measurement.

    Args:
        folder: Where it is.
        device: Where to run it.
        temperature: How random its answers are.
    """

    def __init__(self, folder: Path, device: torch.device, temperature: float) -> None:
        self.tokenizer: PreTrainedTokenizerFast = load_tokenizer(folder)
        self.model: LlamaForCausalLM = load_model(folder, device)
        self.device, self.temperature = device, temperature

    def direct(
        self, problems: Sequence[Problem], count: int, reward: Path | None
    ) -> list[measures.Answered]:
        """Answer each problem directly `count` times, and score the answers."""
        prompts = [chat(problem.question) for problem in problems]
        drawn = self._sample(prompts, count, _DIRECT_TOKENS, self.temperature)
        answered = [
            measures.Answered(
                steps=problem.steps,
                family=problem.family,
                gold=str(problem.answer),
                answers=[boxed(self.tokenizer.decode(ids)) for ids in completions],
                lengths=[len(ids) for ids in completions],
            )
            for problem, completions in zip(problems, drawn, strict=True)
        ]
        if reward is not None:
            self._score(reward, prompts, drawn, answered)
        return answered

    def think(self, problems: Sequence[Problem]) -> list[list[int]]:
        """One reasoning trace for each problem."""
        prompts = [chat(problem.question, THINK) for problem in problems]
        return [ids for (ids,) in self._sample(prompts, 1, _THINK_TOKENS, self.temperature)]

    def forced(
        self, problems: Sequence[Problem], traces: Sequence[list[int]]
    ) -> dict[str, dict[str, float]]:
        """How often the answer is right that each trace is forced to after so many tokens.

        Traces that ended before the cut stand for their own answer in "right", and are left out of
        "right, unfinished".
        """
        end = encode(self.tokenizer, "\n</think>")[-1]
        probe = encode(self.tokenizer, PROBE)
        starts = [encode(self.tokenizer, chat(problem.question, THINK)) for problem in problems]
        golds = [str(problem.answer) for problem in problems]
        own = [
            boxed(self.tokenizer.decode(trace)) == gold
            for trace, gold in zip(traces, golds, strict=True)
        ]
        thought = [trace.index(end) if end in trace else len(trace) for trace in traces]
        table = {}
        for cut in _CUTS:
            alive = [at for at, tokens in enumerate(thought) if tokens > cut]
            right = dict(enumerate(own))
            if alive:
                prompts = [starts[at] + traces[at][:cut] + probe for at in alive]
                drawn = self._sample(prompts, 1, 6, 0.0)
                for at, (ids,) in zip(alive, drawn, strict=True):
                    right[at] = self.tokenizer.decode(ids).split("}")[0].strip() == golds[at]
            table[f"{cut} tokens"] = {
                "right": fmean(right.values()),
                "right, unfinished": fmean(right[at] for at in alive) if alive else float("nan"),
                "unfinished": len(alive) / len(traces),
            }
        return table

    def text(self, ids: Sequence[int]) -> str:
        """The text of a completion."""
        return str(self.tokenizer.decode(ids))

    def _sample(
        self,
        prompts: Sequence[str] | Sequence[list[int]],
        count: int,
        max_tokens: int,
        temperature: float,
    ) -> list[list[list[int]]]:
        return sample(
            self.model,
            self.tokenizer,
            prompts,
            count=count,
            max_tokens=max_tokens,
            temperature=temperature,
        )

    def _score(
        self,
        reward: Path,
        prompts: Sequence[str],
        drawn: Sequence[list[list[int]]],
        answered: Sequence[measures.Answered],
    ) -> None:
        (newline,) = encode(self.tokenizer, "\n")
        starts = [encode(self.tokenizer, prompt) for prompt in prompts]
        flat = [(start, ids) for start, every in zip(starts, drawn, strict=True) for ids in every]
        scores = iter(score(reward, self.device, flat, newline))
        for one in answered:
            found = [next(scores) or [0.0] for _ in one.answers]
            one.half = [lines[(len(lines) - 1) // 2] for lines in found]
            one.end = [lines[-1] for lines in found]


def evaluate(args: argparse.Namespace) -> None:
    """Measure and print everything that was asked for."""
    model, reward = args.model, args.reward
    if model is None:
        model, reward = model_path(), reward or reward_path()
    require_model(model, "train one with python -m models.abacus.train_lm")
    if reward is not None:
        require_model(reward, "train one with python -m models.abacus.train_reward")
    if args.json is not None:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text("")  # what is in the way shows now, not after the measurement
    device = devices.pick_device(_SLOW)
    torch.manual_seed(args.seed)
    rng = random.Random(args.seed)
    problems = [
        make(rng, steps, family)
        for steps in range(1, TRAINED_STEPS + 1)
        for family in FAMILIES
        for _ in range(args.questions)
    ]
    evaluation = Evaluation(model, device, args.temperature)
    report: dict[str, dict[str, measures.Row]] = {}

    def show(name: str, rows: dict[str, measures.Row]) -> None:
        report[name] = rows
        print(f"\n{name}", flush=True)
        for row, values in rows.items():
            shown = ", ".join(f"{key} {value:.3g}" for key, value in values.items())
            print(f"  {row}: {shown}", flush=True)

    answered = evaluation.direct(problems, args.count, reward)
    show("direct answers", measures.spread(answered))
    show("direct answers, by thirds", measures.thirds(answered))
    if reward is not None:
        show("reward", {"all": measures.reward_quality(answered)})
    traces = evaluation.think(problems)
    show("thinking", _thinking(evaluation, problems, traces))
    show("forced answers, by tokens of thought", evaluation.forced(problems, traces))
    if args.json is not None:
        args.json.write_text(json.dumps(_strict(report), indent=1, allow_nan=False) + "\n")


def _thinking(
    evaluation: Evaluation, problems: Sequence[Problem], traces: Sequence[list[int]]
) -> dict[str, measures.Row]:
    texts = [evaluation.text(trace) for trace in traces]
    groups = {
        f"up to {_HARDER - 1} steps": range(1, _HARDER),
        f"{_HARDER} to 11 steps": range(_HARDER, 12),
        f"12 to {TRAINED_STEPS} steps": range(12, TRAINED_STEPS + 1),
        "all": range(1, TRAINED_STEPS + 1),
    }
    rows = {}
    for name, steps in groups.items():
        chosen = [at for at, problem in enumerate(problems) if problem.steps in steps]
        rows[name] = measures.thoughts(
            [texts[at] for at in chosen],
            [str(problems[at].answer) for at in chosen],
            [boxed(texts[at]) for at in chosen],
        ) | {"tokens": fmean(len(traces[at]) for at in chosen)}
    return rows


def _strict(report: dict[str, dict[str, measures.Row]]) -> object:
    """The same with null for what is not a number, which JSON has not."""
    return {
        table: {
            name: {key: None if isnan(value) else value for key, value in row.items()}
            for name, row in rows.items()
        }
        for table, rows in report.items()
    }


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; the defaults measure the bundled models as their card says."""
    parser = argparse.ArgumentParser(description=options.first_line(__doc__))
    parser.add_argument(
        "--model", type=Path, help="folder of the language model (default: the bundled one)"
    )
    parser.add_argument(
        "--reward",
        type=Path,
        help="folder of its reward model (default: the bundled one for the bundled model, else "
        "none)",
    )
    options.add_defaulted(
        parser,
        ("--questions", options.positive_int, 50, "questions of each length and family"),
        ("--count", options.positive_int, 16, "direct answers to each question"),
        ("--temperature", options.positive_float, 0.7, "how random the answers are"),
        ("--seed", int, 12345, "fixes the questions, and the samples of one kind of device"),
    )
    parser.add_argument("--json", type=Path, help="file to write the numbers to as well")
    return parser.parse_args(words)


def main() -> None:
    """Measure from the command line."""
    args = parse()
    try:
        evaluate(args)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()

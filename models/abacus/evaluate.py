"""Measure abacus-7m and its reward model, by default the bundled ones.

python -m models.abacus.evaluate --json runs/abacus/evaluation.json

First a table by difficulty (direct answers), then reasoning traces, then what the model answers
when a trace is cut and it is forced to.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import Counter
from pathlib import Path
from statistics import fmean
from typing import Final

import torch
from transformers import LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedTokenizerFast

from dynasor_graph.abacus import model_path, reward_path
from dynasor_graph.abacus.problems import MAX_DIFFICULTY, PROBE, Problem, chat, make
from models.abacus import devices, options
from models.abacus.sampling import (
    boxed,
    encode,
    load_model,
    load_tokenizer,
    require_model,
    sample,
)

_DIRECT_TOKENS: Final = 220
_THINK_TOKENS: Final = 600
_THINK_TEMPERATURE: Final = 0.7
_THINK_STEPS: Final = (3, 8)
_CUTS: Final = (0, 32, 64, 96, 128, 192, 256, 384)
_FEWEST_TRACES: Final = 20
_COLUMNS: Final = ("greedy", "mean", "majority", "any", "best", "unanswered", "tokens")
_SLOW: Final = (
    "the full measurement takes about half an hour on 2 cores. For a quick look, lower "
    "--questions and --count."
)


class Evaluation:
    """The models under measurement.

    Args:
        model: The folder of the language model.
        reward: The folder of the reward model; None to leave that column out.
        device: Where to run them.
    """

    def __init__(self, model: Path, reward: Path | None, device: torch.device) -> None:
        self.tokenizer: PreTrainedTokenizerFast = load_tokenizer(model)
        self.model: LlamaForCausalLM = load_model(model, device)
        self.reward: LlamaForSequenceClassification | None = None
        if reward is not None:
            scorer = LlamaForSequenceClassification.from_pretrained(reward, dtype=torch.bfloat16)
            self.reward = scorer.to(device).eval()

    def direct(self, problems: list[Problem], count: int) -> dict[str, float]:
        """Answer directly, greedily and `count` times at temperature 1: one row of the table."""
        prompts = [chat(problem.question) for problem in problems]
        greedy = self._sample(prompts, 1, _DIRECT_TOKENS, 0.0)
        drawn = self._sample(prompts, count, _DIRECT_TOKENS, 1.0)
        row: dict[str, list[float]] = {name: [] for name in _COLUMNS}
        for i, problem in enumerate(problems):
            gold = str(problem.answer)
            answers = [self._answer(ids) for ids in drawn[i]]
            row["greedy"].append(self._answer(greedy[i][0]) == gold)
            row["mean"].append(fmean(answer == gold for answer in answers))
            row["majority"].append(Counter(answers).most_common(1)[0][0] == gold)
            row["any"].append(gold in answers)
            row["unanswered"].append(fmean(answer is None for answer in answers))
            row["tokens"].append(fmean(map(len, drawn[i])))
            if self.reward is not None:
                scores = self._score(prompts[i], drawn[i])
                row["best"].append(answers[scores.index(max(scores))] == gold)
        return {name: fmean(values) for name, values in row.items() if values}

    def think(self, problems: list[Problem]) -> tuple[dict[str, float], list[list[int]]]:
        """Answer with a reasoning trace each; returns the summary and the traces."""
        prompts = [chat(problem.question, "<think>\n") for problem in problems]
        drawn = self._sample(prompts, 1, _THINK_TOKENS, _THINK_TEMPERATURE)
        traces = [completions[0] for completions in drawn]
        right = fmean(
            self._answer(trace) == str(problem.answer)
            for problem, trace in zip(problems, traces, strict=True)
        )
        return {"right": right, "tokens": fmean(map(len, traces))}, traces

    def forced(self, problems: list[Problem], traces: list[list[int]], cut: int) -> list[bool]:
        """Cut the traces that are longer than that, force an answer, and say which are right."""
        alive = [pair for pair in zip(problems, traces, strict=True) if len(pair[1]) > cut]
        prompts = [
            chat(problem.question, "<think>\n" + self.tokenizer.decode(trace[:cut]) + PROBE)
            for problem, trace in alive
        ]
        if not prompts:
            return []
        drawn = [self.tokenizer.decode(ids) for (ids,) in self._sample(prompts, 1, 6, 0.0)]
        return [
            text.split("}")[0].strip() == str(problem.answer)
            for (problem, _), text in zip(alive, drawn, strict=True)
        ]

    def _sample(
        self, prompts: list[str], count: int, max_tokens: int, temperature: float
    ) -> list[list[list[int]]]:
        return sample(
            self.model,
            self.tokenizer,
            prompts,
            count=count,
            max_tokens=max_tokens,
            temperature=temperature,
        )

    def _answer(self, ids: list[int]) -> str | None:
        return boxed(self.tokenizer.decode(ids))

    @torch.no_grad()
    def _score(self, prompt: str, completions: list[list[int]]) -> list[float]:
        """The reward of each completion, read at its last token."""
        if self.reward is None:
            return []
        start = encode(self.tokenizer, prompt)
        rows = [torch.tensor(start + completion) for completion in completions]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        hidden = self.reward.model(input_ids=ids.to(self.reward.device)).last_hidden_state
        last = torch.tensor([len(row) - 1 for row in rows], device=hidden.device)
        scores: list[float] = (
            self.reward.score(hidden)[torch.arange(len(rows)), last, 0].float().tolist()
        )
        return scores


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
    device = devices.pick_device(_SLOW)
    torch.manual_seed(args.seed)
    rng = random.Random(args.seed)
    evaluation = Evaluation(model, reward, device)
    report: dict[str, object] = {}
    for difficulty in args.steps:
        row = evaluation.direct([make(rng, difficulty) for _ in range(args.questions)], args.count)
        report[f"steps {difficulty}"] = row
        shown = ", ".join(f"{name} {value:.3g}" for name, value in row.items())
        print(f"{difficulty} steps: {shown}", flush=True)
    problems = [make(rng, rng.randint(*_THINK_STEPS)) for _ in range(4 * args.questions)]
    report["think"], traces = evaluation.think(problems)
    print(f"thinking: {report['think']}", flush=True)
    for cut in _CUTS:
        right = evaluation.forced(problems, traces, cut)
        if len(right) < min(_FEWEST_TRACES, len(problems)):
            break
        report[f"forced at {cut}"] = {"right": fmean(right), "traces": len(right)}
        print(f"forced after {cut} tokens: {fmean(right):.3f} right of {len(right)}", flush=True)
    if args.json is not None:
        args.json.write_text(json.dumps(report, indent=1) + "\n")


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
    parser.add_argument(
        "--steps",
        type=int,
        nargs="+",
        choices=range(1, MAX_DIFFICULTY + 1),
        metavar="STEPS",
        default=[1, 2, 3, 4, 5, 6, 8, 10],
        help=f"difficulties to measure, 1 to {MAX_DIFFICULTY} (default: 1 to 6, 8 and 10)",
    )
    options.add_defaulted(
        parser,
        ("--questions", options.positive_int, 64, "questions of each difficulty; traces: 4 times"),
        ("--count", options.positive_int, 16, "samples of each question"),
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

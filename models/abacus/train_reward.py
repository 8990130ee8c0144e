"""Train the reward model of abacus-7m on answers that the language model gives itself.

python -m models.abacus.train_reward --model runs/abacus/abacus-7m --out runs/abacus/abacus-7m-reward

The reward model is the language model with one more output: the chance that an answer will turn
out right. It learns in two stages. First it reads answers with planted mistakes, whose every line is
known to be right or wrong, and learns to find them. Then it reads answers of the language
model itself, and learns how often an answer that is right so far turns out right.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from pathlib import Path
from typing import Final, NamedTuple

import torch
from transformers import LlamaForSequenceClassification, PreTrainedTokenizerFast

from dynasor_graph.abacus import FAMILIES, Problem, chat, make
from dynasor_graph.abacus.questions import TRAINED_STEPS
from dynasor_graph.abacus.writing import boxed_answer, solve, solve_with_mistake
from models.abacus import checkpoints, devices, options
from models.abacus.muon import Optimizer
from models.abacus.sampling import (
    boxed,
    encode,
    load_model,
    load_tokenizer,
    require_model,
    sample,
)
from models.abacus.scoring import line_ends

_SAMPLES: Final = 8
_MAX_TOKENS: Final = 420
_TEMPERATURE: Final = 0.7
_WIDTH: Final = 64
"""Batches are padded to a multiple of so many tokens, so that few widths are compiled."""
_WARMUP: Final = 50
_UNLABELLED: Final = -1.0
_POOL: Final = 8
"""Written answers are made for so many batches at a time, to have some of each length."""
_SLOW: Final = (
    "sampling the answers of the full recipe takes hours on 2 cores, and each step a minute. "
    "To try it out, lower --problems, --steps and --batch."
)


class Answer(NamedTuple):
    """One answer: question and answer as token ids, the ends of its lines, what is true of each."""

    ids: list[int]
    ends: list[int]
    labels: list[float]


def draw_problem(rng: random.Random) -> Problem:
    """A problem of any length and family."""
    return make(rng, rng.randint(1, TRAINED_STEPS), rng.choice(list(FAMILIES)))


def written_answers(
    count: int, tokenizer: PreTrainedTokenizerFast, rng: random.Random
) -> list[Answer]:
    """Written answers, half of them with a mistake; a line is labelled by whether all is right so far.

    One mistake at a time, and all kinds equally often: the language model itself makes some kinds so
    seldom that they are not learned from its own answers.
    """
    (newline,) = encode(tokenizer, "\n")
    answers = []
    for _ in range(count):
        problem = draw_problem(rng)
        true, _ = solve(problem, rng)
        lines, value = (
            solve_with_mistake(problem, rng) if rng.random() < 0.5 else solve(problem, rng)
        )
        right = [said == line for said, line in zip(lines, true, strict=True)]
        so_far = [float(all(right[: at + 1])) for at in range(len(right))]
        text = "\n".join([*lines, boxed_answer(value)])
        start, ids = encode(tokenizer, chat(problem.question)), encode(tokenizer, text)
        ends = [len(start) + end for end in line_ends(ids, newline)]
        answers.append(Answer(start + ids, ends, [*so_far, so_far[-1]]))
    return answers


def sample_answers(args: argparse.Namespace, device: torch.device) -> list[Answer]:
    """Let the language model answer new questions; a line is labelled by how the answer ended."""
    tokenizer, model = load_tokenizer(args.model), load_model(args.model, device)
    rng = random.Random(args.seed + 1)
    torch.manual_seed(args.seed)
    problems = [draw_problem(rng) for _ in range(args.problems)]
    prompts = [chat(problem.question) for problem in problems]
    drawn = sample(
        model,
        tokenizer,
        prompts,
        count=_SAMPLES,
        max_tokens=_MAX_TOKENS,
        temperature=_TEMPERATURE,
    )
    (newline,) = encode(tokenizer, "\n")
    answers = []
    for problem, prompt, completions in zip(problems, prompts, drawn, strict=True):
        start = encode(tokenizer, prompt)
        for completion in completions:
            right = boxed(tokenizer.decode(completion)) == str(problem.answer)
            ends = [len(start) + end for end in line_ends(completion, newline)]
            answers.append(Answer(start + completion, ends, [float(right)] * len(ends)))
    return answers


def lay_out(answers: list[Answer]) -> tuple[torch.Tensor, torch.Tensor]:
    """The ids and the labels of a batch; only line ends carry a label."""
    width = max(len(answer.ids) for answer in answers)
    width = -(-width // _WIDTH) * _WIDTH
    ids = torch.zeros((len(answers), width), dtype=torch.long)
    labels = torch.full((len(answers), width), _UNLABELLED)
    for row, answer in enumerate(answers):
        ids[row, : len(answer.ids)] = torch.tensor(answer.ids)
        labels[row, answer.ends] = torch.tensor(answer.labels)
    return ids, labels


def pick(answers: list[Answer], batch: int, rng: random.Random) -> list[Answer]:
    """Draw a batch of answers that are about equally long, so that little of it is padding.

    Args:
        answers: All answers, shortest first.
        batch: How many to draw.
        rng: The source of the draw.
    """
    start = rng.randint(-batch, len(answers) - 1)
    return answers[max(0, start) : max(0, start) + batch]


def learning_rate(peak: float, step: int, steps: int) -> float:
    """The learning rate of a step: a linear warm-up, then a straight line down to 2 %."""
    return peak * min(1.0, (step + 1) / _WARMUP) * (0.02 + 0.98 * (1 - step / steps))


def train_step(
    model: LlamaForSequenceClassification, optimizer: Optimizer, answers: list[Answer], rate: float
) -> torch.Tensor:
    """Learn one batch, and return its loss."""
    ids, labels = (tensor.to(model.device) for tensor in lay_out(answers))
    with torch.autocast(model.device.type, torch.bfloat16):
        scores = model.score(model.model(input_ids=ids, use_cache=False).last_hidden_state)[..., 0]
    labelled = labels >= 0
    loss = torch.nn.functional.binary_cross_entropy_with_logits(
        scores[labelled].float(), labels[labelled]
    )
    torch.autograd.backward(loss)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step(rate)
    return loss.detach()


class Batches:
    """The batches of both stages, by the number of the step."""

    def __init__(self, args: argparse.Namespace, own: list[Answer]) -> None:
        self._args = args
        self._own = sorted(own, key=lambda answer: len(answer.ids))
        self._tokenizer = load_tokenizer(args.model)
        self._written: list[Answer] = []

    def at(self, step: int) -> list[Answer]:
        """The batch of a step."""
        args, rng = self._args, random.Random(f"{self._args.seed} {step}")
        if step >= args.line_steps:
            return pick(self._own, args.batch, rng)
        if step % _POOL == 0 or not self._written:
            pool = random.Random(f"{args.seed} pool {step // _POOL}")
            self._written = written_answers(_POOL * args.batch, self._tokenizer, pool)
            self._written.sort(key=lambda answer: len(answer.ids))
        return pick(self._written, args.batch, rng)


def learn(
    model: LlamaForSequenceClassification,
    own: list[Answer],
    saved: checkpoints.Checkpoints,
    args: argparse.Namespace,
) -> None:
    """Train a model in place for all steps of both stages, from the checkpoint on if there is one."""
    optimizer = Optimizer(model)
    step, elapsed = 0, 0.0
    if saved.state is not None and "model" in saved.state:
        model.load_state_dict(saved.state["model"])
        optimizer.load_state_dict(saved.state["optimizer"])
        step, elapsed = saved.state["step"], saved.state["elapsed"]
        print(f"resumed at step {step}, {elapsed / 60:.1f} minutes in", flush=True)
    batches = Batches(args, own)
    steps = args.line_steps + args.steps
    start, shown = time.monotonic() - elapsed, -math.inf
    mean: float | None = None
    while step < steps:
        rate = learning_rate(args.lr, step, steps)
        loss = train_step(model, optimizer, batches.at(step), rate).item()
        mean = loss if mean is None else 0.95 * mean + 0.05 * loss
        step, elapsed = step + 1, time.monotonic() - start
        if step in {1, args.line_steps, steps} or elapsed - shown >= args.report_seconds:
            shown = elapsed
            left = elapsed / step * (steps - step)
            stage = "written answers" if step <= args.line_steps else "own answers"
            print(
                f"step {step} of {steps}, {stage}: {elapsed / 60:.1f} minutes, {left / 60:.1f} to "
                f"go, loss {mean:.4f}",
                flush=True,
            )
        if saved.due():
            progress = {"step": step, "elapsed": elapsed, "answers": [*map(tuple, own)]}
            parts = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            saved.save({**parts, **progress})
    print(f"trained {step} steps", flush=True)


def train(args: argparse.Namespace) -> None:
    """Sample the answers, train on them, and save the reward model."""
    require_model(args.model, "train one with python -m models.abacus.train_lm")
    if args.start is not None:
        require_model(args.start, "leave --start out to begin with the language model")
    names = ("problems", "line_steps", "steps", "batch", "lr", "seed")
    settings = {name: getattr(args, name) for name in names}
    settings |= {"model": str(args.model), "start": str(args.start)}
    saved = checkpoints.Checkpoints(args.out, args.checkpoint_minutes, settings)
    saved.open(resume=args.resume)
    args.out.mkdir(parents=True, exist_ok=True)
    device = devices.pick_device(_SLOW)
    start = time.monotonic()
    if saved.state is not None:
        answers = [Answer(*answer) for answer in saved.state["answers"]]
    else:
        print(f"sampling {args.problems * _SAMPLES} answers", flush=True)
        answers = sample_answers(args, device)
        saved.save({"answers": [*map(tuple, answers)]})
    right = sum(answer.labels[-1] for answer in answers if answer.labels) / len(answers)
    took = time.monotonic() - start
    print(f"{len(answers)} answers, {100 * right:.1f} % right, {took:.0f} s", flush=True)
    torch.manual_seed(args.seed)  # of the new output, however the answers came
    model = LlamaForSequenceClassification.from_pretrained(
        args.start or args.model, num_labels=1, dtype=torch.float32
    ).to(device)
    devices.compile_layers(model.model.layers, device)
    learn(model, answers, saved, args)
    model.to(torch.bfloat16).save_pretrained(args.out)
    load_tokenizer(args.model).save_pretrained(args.out)
    saved.remove()
    print(f"saved in {args.out}")


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; the defaults are the recipe of the bundled model."""
    parser = argparse.ArgumentParser(description=options.first_line(__doc__))
    parser.add_argument("--model", type=Path, required=True, help="folder of the language model")
    parser.add_argument("--out", type=Path, required=True, help="folder for the reward model")
    options.add_defaulted(
        parser,
        ("--problems", options.positive_int, 8000, f"questions, {_SAMPLES} answers to each"),
        ("--line-steps", options.count, 3000, "batches of the first stage, of written answers"),
        ("--steps", options.positive_int, 600, "batches of the second stage, of the model's own"),
        ("--batch", options.positive_int, 256, "answers of a batch"),
        ("--lr", options.positive_float, 1e-3, "the highest learning rate"),
        ("--seed", int, 0, "fixes the questions and the batches"),
    )
    parser.add_argument(
        "--start", type=Path, help="a reward model to go on from (default: the language model)"
    )
    options.add_checkpoint_options(parser)
    return parser.parse_args(words)


def main() -> None:
    """Train from the command line."""
    args = parse()
    try:
        train(args)
    except (checkpoints.CheckpointError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()

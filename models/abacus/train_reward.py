"""Train the reward model of abacus-7m on answers that the language model gives itself.

python -m models.abacus.train_reward --model runs/abacus/abacus-7m --out runs/abacus/abacus-7m-reward

The reward model is the language model with one more output: the chance that an answer will turn
out right. It learns in two stages. First it reads written answers, whose every token is known to be
right so far or not, and learns to find mistakes. Then it reads answers of the language model itself,
and learns how often an answer that is right so far turns out right.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Final

import torch
from transformers import LlamaForSequenceClassification

from models.abacus import checkpoints, devices, options
from models.abacus.answers import (
    SAMPLES,
    UNLABELLED,
    Answer,
    Batch,
    own,
    own_batches,
    written_batches,
)
from models.abacus.muon import Optimizer
from models.abacus.prefetch import Tensors, prefetch
from models.abacus.sampling import load_tokenizer, require_model

_WARMUP: Final = 50
_SLOW: Final = (
    "sampling the answers of the full recipe takes hours on 2 cores, and each step a minute. "
    "To try it out, lower --problems, --steps and --batch."
)


def learning_rate(peak: float, step: int, steps: int) -> float:
    """The learning rate of a step: a linear warm-up, then a straight line down to 2 %."""
    return peak * min(1.0, (step + 1) / _WARMUP) * (0.02 + 0.98 * (1 - step / steps))


def train_step(
    model: LlamaForSequenceClassification, optimizer: Optimizer, batch: Tensors, rate: float
) -> torch.Tensor:
    """Learn one batch, and return its loss."""
    ids, labels = batch
    with torch.autocast(model.device.type, torch.bfloat16):
        scores = model.score(model.model(input_ids=ids, use_cache=False).last_hidden_state)[..., 0]
    labelled = labels != UNLABELLED
    loss = torch.nn.functional.binary_cross_entropy_with_logits(
        scores[labelled].float(), labels[labelled]
    )
    torch.autograd.backward(loss)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step(rate)
    return loss.detach()


def batches(
    args: argparse.Namespace, answers: list[Answer], first: int
) -> Generator[Batch, None, None]:
    """The batches of both stages, from that step on."""
    if first < args.line_steps:
        written = written_batches(args.model, args.batch, args.seed, first)
        yield from itertools.islice(written, args.line_steps - first)
    yield from own_batches(answers, args.batch, args.seed, max(0, first - args.line_steps))


def learn(
    model: LlamaForSequenceClassification,
    answers: list[Answer],
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
    laid_out = prefetch(batches(args, answers, step), model.device)
    steps = args.line_steps + args.steps
    start, shown = time.monotonic() - elapsed, -math.inf
    mean: float | None = None
    while step < steps:
        rate = learning_rate(args.lr, step, steps)
        loss = train_step(model, optimizer, next(laid_out), rate).item()
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
            progress = {"step": step, "elapsed": elapsed, "answers": [*map(tuple, answers)]}
            parts = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            saved.save({**parts, **progress})
    laid_out.close()
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
        print(f"sampling {args.problems * SAMPLES} answers", flush=True)
        answers = own(args, device)
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
        ("--problems", options.positive_int, 8000, f"questions, {SAMPLES} answers to each"),
        ("--line-steps", options.count, 7500, "batches of the first stage, of written answers"),
        ("--steps", options.positive_int, 600, "batches of the second stage, of the model's own"),
        ("--batch", options.positive_int, 256, "answers of a batch"),
        ("--lr", options.positive_float, 2e-3, "the highest learning rate"),
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

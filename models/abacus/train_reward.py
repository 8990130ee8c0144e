"""Train the reward model of abacus-7m on answers that the language model gives itself.

python -m models.abacus.train_reward --model runs/abacus/abacus-7m --out runs/abacus/reward

The reward model is the language model with one more output: the chance that an answer will turn
out right. It learns that at the end of every line of an answer.
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
from transformers import LlamaForSequenceClassification

from dynasor_graph.abacus.problems import chat, make
from models.abacus import checkpoints, devices, options
from models.abacus.sampling import (
    boxed,
    encode,
    load_model,
    load_tokenizer,
    require_model,
    sample,
)

_STEPS: Final = (2, 10)
_SAMPLES: Final = 8
_MAX_TOKENS: Final = 200
_LENGTH: Final = 384
_WARMUP: Final = 50
_UNLABELLED: Final = -1.0
_SLOW: Final = (
    "sampling the answers of the full recipe takes an hour on 2 cores, and each step a minute. "
    "To try it out, lower --problems and --batch."
)


class Answer(NamedTuple):
    """One sampled answer: question and answer as token ids, the ends of its lines, its truth."""

    ids: list[int]
    ends: list[int]
    right: float


def sample_answers(args: argparse.Namespace, device: torch.device) -> list[Answer]:
    """Let the language model answer new questions, and mark each answer right or wrong."""
    tokenizer, model = load_tokenizer(args.model), load_model(args.model, device)
    rng = random.Random(args.seed + 1)
    torch.manual_seed(args.seed)
    problems = [make(rng, rng.randint(*_STEPS)) for _ in range(args.problems)]
    prompts = [chat(problem.question) for problem in problems]
    drawn = sample(
        model, tokenizer, prompts, count=_SAMPLES, max_tokens=_MAX_TOKENS, temperature=1.0
    )
    (line_end,) = encode(tokenizer, "\n")
    answers = []
    for problem, prompt, completions in zip(problems, prompts, drawn, strict=True):
        start = encode(tokenizer, prompt)
        for completion in completions:
            right = boxed(tokenizer.decode(completion)) == str(problem.answer)
            ids = start + completion
            ends = [at for at in range(len(start), len(ids)) if ids[at] == line_end]
            answers.append(Answer(ids, [*ends, len(ids) - 1], float(right)))
    return answers


def lay_out(answers: list[Answer]) -> tuple[torch.Tensor, torch.Tensor]:
    """The ids and the labels of a batch; only line ends carry a label."""
    ids = torch.zeros((len(answers), _LENGTH), dtype=torch.long)
    labels = torch.full((len(answers), _LENGTH), _UNLABELLED)
    for row, answer in enumerate(answers):
        kept = answer.ids[:_LENGTH]
        ids[row, : len(kept)] = torch.tensor(kept)
        labels[row, [end for end in answer.ends if end < _LENGTH]] = answer.right
    return ids, labels


def learning_rate(peak: float, step: int, fraction: float) -> float:
    """The learning rate of a step: a linear warm-up, then a straight line down to 2 %."""
    return peak * min(1.0, (step + 1) / _WARMUP) * (0.02 + 0.98 * (1 - fraction))


def train_step(
    model: LlamaForSequenceClassification,
    optimizer: torch.optim.Optimizer,
    answers: list[Answer],
    rate: float,
) -> torch.Tensor:
    """Learn one batch, and return its loss."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    ids, labels = (tensor.to(model.device) for tensor in lay_out(answers))
    with torch.autocast(model.device.type, torch.bfloat16):
        scores = model.score(model.model(input_ids=ids).last_hidden_state)[..., 0]
    labelled = labels >= 0
    loss = torch.nn.functional.binary_cross_entropy_with_logits(
        scores[labelled].float(), labels[labelled]
    )
    torch.autograd.backward(loss)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.detach()


def learn(
    model: LlamaForSequenceClassification,
    answers: list[Answer],
    saved: checkpoints.Checkpoints,
    args: argparse.Namespace,
) -> None:
    """Train a model in place until the time is up, from the checkpoint on if there is one."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=args.lr, betas=(0.9, 0.95), weight_decay=0.01
    )
    step, elapsed = 0, 0.0
    if saved.state is not None and "model" in saved.state:
        model.load_state_dict(saved.state["model"])
        optimizer.load_state_dict(saved.state["optimizer"])
        step, elapsed = saved.state["step"], saved.state["elapsed"]
        print(f"resumed at step {step}, {elapsed / 60:.1f} minutes in", flush=True)
    start, shown = time.monotonic() - elapsed, -math.inf
    while (fraction := (time.monotonic() - start) / (60 * args.minutes)) < 1:
        rng = random.Random(f"{args.seed} {step}")
        batch = rng.sample(answers, min(args.batch, len(answers)))
        loss = train_step(model, optimizer, batch, learning_rate(args.lr, step, fraction))
        step, elapsed = step + 1, time.monotonic() - start
        if step == 1 or elapsed - shown >= args.report_seconds:
            shown = elapsed
            print(
                f"step {step}: {elapsed / 60:.1f} of {args.minutes:g} minutes, "
                f"loss {loss.item():.4f}",
                flush=True,
            )
        if saved.due():
            progress = {"step": step, "elapsed": elapsed, "answers": [*map(tuple, answers)]}
            parts = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            saved.save({**parts, **progress})
    print(f"trained {step} steps", flush=True)


def train(args: argparse.Namespace) -> None:
    """Sample the answers, train on them, and save the reward model."""
    require_model(args.model, "train one with python -m models.abacus.train_lm")
    settings = {name: getattr(args, name) for name in ("problems", "batch", "lr", "seed")}
    settings["model"] = str(args.model)
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
    right = sum(answer.right for answer in answers) / len(answers)
    took = time.monotonic() - start
    print(f"{len(answers)} answers, {100 * right:.1f} % right, {took:.0f} s", flush=True)
    model = LlamaForSequenceClassification.from_pretrained(
        args.model, num_labels=1, dtype=torch.float32
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
        ("--minutes", options.positive_float, 0.7, "how long to train, without the sampling"),
        ("--problems", options.positive_int, 4000, f"questions, {_SAMPLES} answers to each"),
        ("--batch", options.positive_int, 384, "answers of a batch"),
        ("--lr", options.positive_float, 5e-4, "the highest learning rate"),
        ("--seed", int, 0, "fixes the questions and the batches"),
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

"""Train the language model abacus-7m from scratch.

python -m models.abacus.train_lm --out runs/abacus/abacus-7m
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path
from typing import Any, Final

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from models.abacus import checkpoints, data, devices, options
from models.abacus.muon import Optimizer
from models.abacus.prefetch import Tensors, prefetch
from models.abacus.tokenizer import CONTEXT, DEFAULT_VOCABULARY, build_tokenizer

_HEAD: Final = 64
_WARMUP: Final = 200
_SLOW: Final = (
    "a step of the full recipe takes about a minute on 2 cores, and there are thousands of them. "
    "To try it out, lower --steps, --tokens, --hidden and --layers."
)


def learning_rate(peak: float, step: int, done: float) -> float:
    """The learning rate of a step: a linear warm-up, then a cosine down to 2 % of the peak.

    Args:
        peak: The highest rate.
        step: How many steps are done.
        done: How much of the training is done, 0 to 1.

    Returns:
        The rate.
    """
    warmup = min(1.0, (step + 1) / _WARMUP)
    return peak * warmup * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))


def build_model(args: argparse.Namespace, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A Llama with random weights, fixed by the seed."""
    heads = args.hidden // _HEAD
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=args.hidden,
        intermediate_size=args.intermediate,
        num_hidden_layers=args.layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        rms_norm_eps=1e-5,
    )
    torch.manual_seed(args.seed)
    return LlamaForCausalLM(config)


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The mean loss of the labelled tokens: logits [rows, width, vocabulary], labels [rows, width]."""
    return torch.nn.functional.cross_entropy(
        logits.flatten(0, 1).float(), labels.flatten(), ignore_index=data.IGNORED
    )


def train_step(
    model: LlamaForCausalLM, optimizer: Optimizer, batch: Tensors, rate: float, loss_of: Any
) -> torch.Tensor:
    """Learn one batch, and return its loss."""
    ids, labels = batch
    with torch.autocast(ids.device.type, torch.bfloat16):
        logits = model.lm_head(model.model(input_ids=ids, use_cache=False).last_hidden_state)
    loss: torch.Tensor = loss_of(logits[:, :-1], labels[:, 1:])
    torch.autograd.backward(loss)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
    optimizer.step(rate)
    return loss.detach()


def progress_of(args: argparse.Namespace, step: int, elapsed: float) -> float:
    """How much of the training is done, by steps or by time, whichever ends first; 0 to 1."""
    by_time = elapsed / (60 * args.minutes) if args.minutes else 0.0
    return float(min(1.0, max(step / args.steps, by_time)))


def learn(
    model: LlamaForCausalLM, saved: checkpoints.Checkpoints, args: argparse.Namespace
) -> None:
    """Train a model in place for all steps, from the checkpoint on if there is one."""
    optimizer = Optimizer(model)
    step, seen, elapsed = 0, 0, 0.0
    if saved.state is not None:
        model.load_state_dict(saved.state["model"])
        optimizer.load_state_dict(saved.state["optimizer"])
        step, seen, elapsed = (saved.state[name] for name in ("step", "seen", "elapsed"))
        print(f"resumed at step {step}, {elapsed / 60:.1f} minutes in", flush=True)
    # A resumed run goes on with fresh examples: there is no end of them, and none comes twice.
    drawn = data.batches(args.out / "tokenizer.json", args.tokens, f"{args.seed} {step}")
    loss_of = devices.compiled(cross_entropy, model.device)
    start, shown = time.monotonic() - elapsed, -math.inf
    batches = prefetch(drawn, model.device)
    while (done := progress_of(args, step, elapsed)) < 1:
        batch = next(batches)
        rate = learning_rate(args.lr, step, done)
        loss = train_step(model, optimizer, batch, rate, loss_of)
        step, seen = step + 1, seen + batch[0].numel()
        elapsed = time.monotonic() - start
        if step in {1, args.steps} or elapsed - shown >= args.report_seconds:
            shown = elapsed
            left = elapsed / progress_of(args, step, elapsed) - elapsed
            print(
                f"step {step} of {args.steps}: {seen / 1e6:.1f} M tokens, {elapsed / 60:.1f} "
                f"minutes, {left / 60:.1f} to go, loss {loss.item():.4f}, learning rate {rate:.5f}",
                flush=True,
            )
        if saved.due():
            progress = {"step": step, "seen": seen, "elapsed": elapsed}
            saved.save(
                {"model": model.state_dict(), "optimizer": optimizer.state_dict(), **progress}
            )
    batches.close()
    print(f"trained {step} steps on {seen / 1e6:.1f} M tokens, padding included", flush=True)


def train(args: argparse.Namespace) -> None:
    """Make the tokenizer, train, and save the model."""
    names = ("steps", "vocabulary", "hidden", "intermediate", "layers", "tokens", "lr", "seed")
    saved = checkpoints.Checkpoints(
        args.out, args.checkpoint_minutes, {name: getattr(args, name) for name in names}
    )
    saved.open(resume=args.resume)
    args.out.mkdir(parents=True, exist_ok=True)
    device = devices.pick_device(_SLOW)
    tokenizer = build_tokenizer(args.vocabulary)
    tokenizer.save_pretrained(args.out)
    model = build_model(args, tokenizer).to(device)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters", flush=True)
    devices.compile_layers(model.model.layers, device)
    learn(model, saved, args)
    model.to(torch.bfloat16).save_pretrained(args.out)
    saved.remove()
    print(f"saved in {args.out}")


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; the defaults are the recipe of the bundled model."""
    parser = argparse.ArgumentParser(description=options.first_line(__doc__))
    parser.add_argument("--out", type=Path, required=True, help="folder for the model")
    options.add_defaulted(
        parser,
        ("--steps", options.positive_int, 9552, "how many batches to train on"),
        ("--vocabulary", options.positive_int, DEFAULT_VOCABULARY, "tokens of the tokenizer"),
        ("--hidden", options.positive_int, 256, f"width of the model, a multiple of {_HEAD}"),
        ("--intermediate", options.positive_int, 768, "width inside the feed-forward layers"),
        ("--layers", options.positive_int, 8, "number of layers"),
        ("--tokens", options.positive_int, 65_536, "tokens of a batch, padding included"),
        ("--lr", options.positive_float, 5e-3, "the highest learning rate"),
        ("--seed", int, 0, "fixes the data and the first weights"),
    )
    parser.add_argument(
        "--minutes",
        type=options.positive_float,
        help="end after so long, even if steps are left (default: no limit); the learning rate "
        "falls accordingly, and the weights then depend on the speed of the machine",
    )
    options.add_checkpoint_options(parser)
    args = parser.parse_args(words)
    if args.hidden % _HEAD:
        parser.error(f"--hidden must be a multiple of {_HEAD}, got {args.hidden}")
    return args


def main() -> None:
    """Train from the command line."""
    args = parse()
    try:
        train(args)
    except (checkpoints.CheckpointError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()

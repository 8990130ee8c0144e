"""Train the language model abacus-7m from scratch.

python -m models.abacus.train_lm --out runs/abacus/abacus-7m
"""

from __future__ import annotations

import argparse
import math
import queue
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from models.abacus import checkpoints, data, devices, options
from models.abacus.tokenizer import CONTEXT, DEFAULT_VOCABULARY, build_tokenizer

_HEAD: Final = 64
_WARMUP: Final = 200
_SLOW: Final = (
    "a step of the full recipe takes 20 to 60 s on 2 cores, and the bundled model took 7,457 of "
    "them. To try it out, lower --examples, --tokens, --hidden and --layers."
)

_Batch = tuple[torch.Tensor, torch.Tensor]


def learning_rate(peak: float, step: int, fraction: float) -> float:
    """The learning rate of a step: a linear warm-up, then a cosine down to 2 % of the peak.

    Args:
        peak: The highest rate.
        step: How many steps are done.
        fraction: How much of the time is used up, 0 to 1.

    Returns:
        The rate.
    """
    warmup = min(1.0, (step + 1) / _WARMUP)
    return peak * warmup * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * fraction)))


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


def build_optimizers(model: torch.nn.Module, peak: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices, AdamW for the embedding and the norms."""
    matrices: list[torch.nn.Parameter] = []
    rest: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (matrices if parameter.ndim == 2 and "embed" not in name else rest).append(parameter)
    fused = rest[0].device.type == "cuda"
    return [
        torch.optim.Muon(
            matrices, lr=peak, weight_decay=0.05, momentum=0.95, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(rest, lr=peak, betas=(0.9, 0.95), weight_decay=0.0, fused=fused),
    ]


def prefetch(batches: Iterator[Any], device: torch.device, depth: int = 8) -> Iterator[_Batch]:
    """The same batches as tensors, laid out by a thread so that the GPU never waits for them."""
    ready: queue.Queue[_Batch | Exception] = queue.Queue(depth)

    def fill() -> None:
        try:
            for arrays in batches:
                ids, labels = (torch.from_numpy(array) for array in arrays)
                pinned = device.type == "cuda"
                ready.put((ids.pin_memory(), labels.pin_memory()) if pinned else (ids, labels))
        except Exception as error:  # noqa: BLE001 - raised again where the batch is wanted
            ready.put(error)

    threading.Thread(target=fill, daemon=True).start()
    while True:
        batch = ready.get()
        if isinstance(batch, Exception):
            raise batch
        ids, labels = batch
        yield ids.to(device, non_blocking=True), labels.to(device, non_blocking=True)


def train_step(
    model: LlamaForCausalLM, optimizers: list[torch.optim.Optimizer], batch: _Batch, rate: float
) -> torch.Tensor:
    """Learn one batch, and return its loss."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate
    ids, labels = batch
    with torch.autocast(ids.device.type, torch.bfloat16):
        logits = model.lm_head(model.model(input_ids=ids).last_hidden_state[:, :-1])
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), labels[:, 1:].flatten())
    torch.autograd.backward(loss)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return loss.detach()


def learn(
    model: LlamaForCausalLM,
    examples: list[data.Example],
    saved: checkpoints.Checkpoints,
    args: argparse.Namespace,
) -> None:
    """Train a model in place until the time is up, from the checkpoint on if there is one."""
    optimizers = build_optimizers(model, args.lr)
    step, seen, elapsed = 0, 0, 0.0
    if saved.state is not None:
        model.load_state_dict(saved.state["model"])
        for optimizer, part in zip(optimizers, saved.state["optimizers"], strict=True):
            optimizer.load_state_dict(part)
        step, seen, elapsed = (saved.state[name] for name in ("step", "seen", "elapsed"))
        print(f"resumed at step {step}, {elapsed / 60:.1f} minutes in", flush=True)
    batches = prefetch(data.batches(examples, args.tokens, args.seed, skip=step), model.device)
    start, shown = time.monotonic() - elapsed, -math.inf
    while (fraction := (time.monotonic() - start) / (60 * args.minutes)) < 1:
        batch = next(batches)
        rate = learning_rate(args.lr, step, fraction)
        loss = train_step(model, optimizers, batch, rate)
        step, seen = step + 1, seen + batch[0].numel()
        elapsed = time.monotonic() - start
        if step == 1 or elapsed - shown >= args.report_seconds:
            shown = elapsed
            print(
                f"step {step}: {seen / 1e6:.1f} M tokens, {elapsed / 60:.1f} of {args.minutes:g} "
                f"minutes, loss {loss.item():.4f}, learning rate {rate:.5f}",
                flush=True,
            )
        if saved.due():
            parts = [optimizer.state_dict() for optimizer in optimizers]
            progress = {"step": step, "seen": seen, "elapsed": elapsed}
            saved.save({"model": model.state_dict(), "optimizers": parts, **progress})
    print(f"trained {step} steps on {seen / 1e6:.1f} M tokens, padding included", flush=True)


def train(args: argparse.Namespace) -> None:
    """Make the tokenizer and the data, train, and save the model."""
    names = ("examples", "vocabulary", "hidden", "intermediate", "layers", "tokens", "lr", "seed")
    saved = checkpoints.Checkpoints(
        args.out, args.checkpoint_minutes, {name: getattr(args, name) for name in names}
    )
    saved.open(resume=args.resume)
    args.out.mkdir(parents=True, exist_ok=True)
    device = devices.pick_device(_SLOW)
    tokenizer = build_tokenizer(args.vocabulary)
    tokenizer.save_pretrained(args.out)
    start = time.monotonic()
    examples = data.dataset(args.examples, args.out / "tokenizer.json", args.seed)
    tokens = sum(len(one.ids) for one in examples)
    print(
        f"{len(examples)} examples, {tokens / 1e6:.1f} M tokens, {time.monotonic() - start:.0f} s",
        flush=True,
    )
    model = build_model(args, tokenizer).to(device)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters", flush=True)
    devices.compile_layers(model.model.layers, device)
    learn(model, examples, saved, args)
    model.to(torch.bfloat16).save_pretrained(args.out)
    saved.remove()
    print(f"saved in {args.out}")


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; the defaults are the recipe of the bundled model."""
    parser = argparse.ArgumentParser(description=options.first_line(__doc__))
    parser.add_argument("--out", type=Path, required=True, help="folder for the model")
    options.add_defaulted(
        parser,
        (
            "--minutes",
            options.positive_float,
            6.8,
            "how long to train; the rate falls with the time",
        ),
        ("--examples", options.positive_int, 2_000_000, "how many examples to generate"),
        ("--vocabulary", options.positive_int, DEFAULT_VOCABULARY, "tokens of the tokenizer"),
        ("--hidden", options.positive_int, 256, f"width of the model, a multiple of {_HEAD}"),
        ("--intermediate", options.positive_int, 768, "width inside the feed-forward layers"),
        ("--layers", options.positive_int, 8, "number of layers"),
        ("--tokens", options.positive_int, 65_536, "tokens of a batch, padding included"),
        ("--lr", options.positive_float, 5e-3, "the highest learning rate"),
        ("--seed", int, 0, "fixes the data and the first weights"),
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

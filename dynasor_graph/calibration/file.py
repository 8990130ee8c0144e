"""Policy file: a certified policy, what it was certified for, and the evidence."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dynasor_graph.confidence import GroupVote
from dynasor_graph.errors import InputError, explain
from dynasor_graph.types import JSON

__all__ = ["BelongsTo", "Bound", "PolicyFile", "read_policy_file"]


class BelongsTo(BaseModel):
    """Where the bound holds: the same everywhere, or it says nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: tuple[str, ...]
    datasets: tuple[str, ...]
    temperatures: tuple[float, ...] = Field(description="sampling; empty if it was not recorded")
    algorithm: str
    cap: int | None = Field(description="the knob's cap: branches; None for a chain of thought")
    window: int | None = Field(description="branches in flight; None for a chain of thought")
    vote: Literal["majority", "confidence", "best", GroupVote] = "majority"


class Bound(BaseModel):
    """What was certified. Losses are shares: 0.005 is half a point."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    goal: str = Field(description='"right": accuracy; "same": agreement with the full budget')
    max_loss: float
    confidence: float
    loss: float = Field(description="measured on the certify half")
    spent: float = Field(description="share of the full budget's net tokens there")
    questions: int = Field(description="of the certify half")


class PolicyFile(BaseModel):
    """A policy with its certificate; the key `policy` is what `--policy FILE.json` reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: dict[str, Any]
    bound: Bound
    belongs_to: BelongsTo
    evidence: tuple[dict[str, Any], ...]
    made: str

    def write(self, path: Path) -> None:
        """Write the file, replacing an older one whole or not at all."""
        part = path.with_name(path.name + ".part")
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")
        part.replace(path)

    def mismatches(
        self,
        *,
        model: str,
        algorithm: str,
        temperature: float,
        cap: int | None,
        window: int | None,
        vote: str | None = None,
    ) -> list[str]:
        """How a run differs from what the policy was certified for; empty if in nothing."""
        mine = self.belongs_to
        pairs: Sequence[tuple[str, Any, Sequence[Any]]] = [
            ("model", model, mine.models),
            ("algorithm", algorithm, [mine.algorithm]),
            ("temperature", temperature, mine.temperatures),
            ("branches", cap, [mine.cap] if mine.cap else []),
            ("window", window, [mine.window] if mine.window else []),
            ("vote", vote, [mine.vote]),
        ]
        return [
            f"{name} is {value}, certified for {', '.join(map(str, known))}"
            for name, value, known in pairs
            if known and value is not None and value not in known
        ]


def read_policy_file(path: Path) -> PolicyFile:
    """Read what `write` wrote.

    Raises:
        InputError: There is no such file, or it is no policy file.
    """
    try:
        row: JSON = json.loads(path.read_text(encoding="utf-8"))
        return PolicyFile.model_validate(row)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except ValidationError as error:
        raise InputError(f"{path}: {explain(error, 'policy file')}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: no policy file: {error}") from None

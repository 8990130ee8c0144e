"""Systems: what is compared: who stops when, and whose requests go first."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from dynasor_graph.policies import AsNeeded, read_policy

__all__ = ["SYSTEMS", "System", "fitted"]


class System(NamedTuple):
    """One way to serve programs.

    Attributes:
        policy: When a program stops.
        window: Branches of a program in flight.
        order: Of the scheduler; None for the engine alone.
        cuts: Whether a program ends at its deadline with the best answer it has.
        told: Whether the scheduler is told the deadlines.
    """

    policy: str | dict[str, Any]
    window: int
    order: str | None
    cuts: bool = False
    told: bool = False


SYSTEMS: dict[str, System] = {
    "even + vLLM": System("fixed", 20, None),
    "even + program-fifo": System("fixed", 20, "program-fifo"),
    "certaindex + vLLM": System("sc-gsm8k", 20, None),
    "certaindex + gang": System("sc-gsm8k", 20, "gang"),
    "certaindex + sjf": System("sc-gsm8k", 20, "sjf"),
    "beta + vLLM": System("beta", 8, None),
    "beta + gang": System("beta", 8, "gang"),
    "beta + sjf": System("beta", 8, "sjf"),
    "as-needed + sjf": System("beta-as-needed", 20, "sjf"),
    "as-needed + slo": System("beta-as-needed", 20, "sjf", told=True),
    "as-needed + edf": System("beta-as-needed", 20, "edf", cuts=True),
}
"""The paper's ablation, and the same with the rule that needs the fewest tokens.

"even" is SGLang's and vLLM's case, "program-fifo" Parrot's, "gang" the paper's system without shortest
job first. Its policy measures once, at five branches; ours is asked at each, with eight in flight,
or as many as are expected to be needed. "slo" is shortest job first that is told the deadlines, and puts
off who cannot keep them any more. The last one cuts programs at them, and so keeps them.
"""


def fitted(path: Path) -> dict[str, System]:
    """Systems that stop by a policy file of `dynasor-graph calibrate`, such as `value`.

    Args:
        path: The file.

    Raises:
        ConfigError: It holds no policy.
    """
    rule = AsNeeded(policy=read_policy(str(path))).model_dump(mode="json")
    return {
        "fitted + sjf": System(rule, 20, "sjf"),
        "fitted + slo": System(rule, 20, "sjf", told=True),
        "fitted + edf": System(rule, 20, "edf", cuts=True),
    }

"""Game of 24: Rebase over single steps, each verified exactly; `{"numbers": [4, 9, 10, 13]}` in.

The model proposes steps (`13 - 9 = 4 (left: 4 4 10)`) and at last an answer. The reward is a verifier: a
step that is wrong gets no children, an answer that reaches 24 with the given numbers ends the search.
"""

import os
import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Literal

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from typing_extensions import TypedDict

import dynasor_graph as dg

ENGINE = os.environ.get("DYNASOR_ENGINE", "http://127.0.0.1:8000")
dg.register("default", lambda: dg.open_engine(ENGINE))  # opened at the first question

ASK = """\
Use the numbers {numbers} and + - * / to make {target}. Each number is used exactly once.
Write one step a line, with the numbers that are left after it, and at last the whole expression:
13 - 9 = 4 (left: 4 4 10)
10 - 4 = 6 (left: 4 6)
4 * 6 = 24 (left: 24)
Answer: (13 - 9) * (10 - 4)"""

STEP = re.compile(r"\s*(\S+)\s*([-+*/])\s*(\S+)\s*=\s*(\S+)\s*\(left:\s*([^)]*)\)\s*")


class Solved(dg.Rule):
    """Stop as soon as one solution is judged to be right, beyond doubt."""

    rule: Literal["solved"] = "solved"

    def reads(self) -> frozenset[str]:
        """Rewards: votes say nothing where a verifier does."""
        return frozenset({"rewards"})

    def decide(self, progress: dg.Progress, /) -> dg.Decision:
        """Asked at every solution that ends."""
        best = max(progress.rewards, default=0.0)
        return dg.Decision(
            verdict="terminate" if best >= 1.0 else "continue",
            width=progress.cap,
            rule=self.rule,
            evidence=best,
            threshold=1.0,
        )


class Game(TypedDict, total=False):
    """The state: four numbers in, the answer and what it took out.

    `solved` says whether the answer was verified; `target` is 24 unless given.
    """

    numbers: list[int]
    target: int
    answer: str | None
    solved: bool
    branches: list[dg.Branch]
    usage: dict[str, int]


def numbers_in(text: str) -> tuple[int, ...]:
    """The whole numbers of a text, such as "4 9 10 13"."""
    return tuple(map(int, re.findall(r"\d+", text)))


def as_fraction(text: str) -> Fraction | None:
    """A number as the model writes it: `4`, `-1`, `(-1)`, `2/3`, `1.5`."""
    try:
        return Fraction(text.strip("()"))
    except (ValueError, ZeroDivisionError):
        return None


def step_is_right(line: str, left: Sequence[Fraction]) -> list[Fraction] | None:
    """What is left after a step; None if it uses a number that is not there, or is wrong."""
    step = STEP.fullmatch(line)
    if step is None:
        return None
    a, b, result = (as_fraction(step[i]) for i in (1, 3, 4))
    rest = list(left)
    for number in (a, b):
        if number is None or number not in rest:
            return None
        rest.remove(number)
    exact = dg.calculate(f"({a}){step[2]}({b})")
    if exact is None or exact.value != result:
        return None
    rest.append(exact.value)
    claimed = [number for word in step[5].split() if (number := as_fraction(word)) is not None]
    return rest if sorted(claimed) == sorted(rest) else None


def verified(partial: dg.Partial) -> float:
    """The reward: 1 for a right answer, 0 for a wrong step or answer, 0.5 for what may still succeed."""
    *numbers, target = numbers_in(partial.question.partition("\n")[0])
    kind = dg.Expression(numbers=tuple(numbers), target=str(target))
    left = [Fraction(number) for number in numbers]
    for line in partial.text.strip().splitlines():
        if said := re.search(r"answer:?(.*)", line, re.IGNORECASE):
            found = dg.calculate(said[1])
            right = found is not None and kind.uses_numbers(found) and found.value == kind.goal
            return 1.0 if right else 0.0
        after = step_is_right(line, left)
        if after is None:
            return 0.0
        left = after
    return 0.0 if partial.ended else 0.5


dg.register_reward("game24", lambda: dg.FunctionReward(verified, name="game24"))

rebase = dg.find_algorithm("rebase")
search = rebase.compile()


async def play(state: Game, runtime: Runtime[dg.Context]) -> dict[str, Any]:
    """Search for an expression; as soon as one is verified, the search ends."""
    numbers, target = tuple(state["numbers"]), state.get("target", 24)
    if not numbers:
        raise dg.InputError(
            'numbers must hold the numbers to use, such as {"numbers": [4, 9, 10, 13]}'
        )
    # Without a context, LangGraph gives none, whatever its types say.
    context: dg.Context | None = runtime.context
    given = {} if context is None else context.model_dump(exclude_unset=True)
    settings = {
        "answers": {"kind": "expression", "numbers": numbers, "target": str(target)},
        "reward": "game24",
        "extract": "phrase",
        "vote": "best",
        "policy": "solved",
        "width": 8,
        "depth": len(numbers),
        "step_tokens": 64,
        **given,
    }
    asked = ASK.format(numbers=" ".join(map(str, numbers)), target=target)
    done = await search.ainvoke({"question": asked}, context=settings)
    best = max((branch.get("reward", 0.0) for branch in done["branches"]), default=0.0)
    return {
        "answer": done["answer"],
        "solved": best == 1.0,
        "branches": done["branches"],
        "usage": done["usage"],
    }


graph = StateGraph(Game, context_schema=rebase.settings)
graph.add_node(play)
graph.add_edge(START, "play")
graph.add_edge("play", END)

"""Pacing: one budget of tokens for many questions, spent where a token gains the most.

Each program stops where its next branch gains less than a price. One price for all of them is the best
way to spend a budget (were a branch of one worth more than the last of another, they should swap), and
the price is what makes the budget last: the policy `Value` knows what programs spent at each price on
the questions it was fitted on, and what programs really spend corrects that as they end.
"""

from __future__ import annotations

from typing import Final

from dynasor_graph.errors import ConfigError
from dynasor_graph.policies.base import Rule
from dynasor_graph.policies.value import Value

__all__ = ["Pacing"]

_TRUST: Final = 20
"""Programs' worth of belief in what was fitted."""


class Pacing:
    """Gives each program of a run its policy, so that the run's budget lasts.

    Args:
        rule: The policy, with what it spends (`dynasor-graph calibrate --policy value` writes it).
        tokens: Budget of the whole run, >= 1.
        questions: Programs of the whole run, >= 1.

    Attributes:
        spent: Tokens of the programs that have ended.

    Raises:
        ConfigError: The policy is another, or does not know what it spends.
    """

    def __init__(self, rule: Rule, tokens: int, questions: int) -> None:
        if not isinstance(rule, Value) or not rule.spends:
            raise ConfigError(
                "one budget for many questions needs a policy that knows what a branch is worth and "
                "what it spends: write one with `dynasor-graph calibrate FILE --policy value`"
            )
        self.spent = 0
        self._rule, self._tokens, self._left = rule, tokens, questions
        self._running: dict[str, float] = {}  # what each is expected to spend, by the fit
        self._expected = 0.0  # of those that have ended, by the fit

    @property
    def ratio(self) -> float:
        """What programs spend here, against the questions that the policy was fitted on."""
        trust = _TRUST * self._rule.spends[0][1]  # at the lowest price: whole programs
        return (trust + self.spent) / (trust + self._expected)

    def begin(self, program: str) -> Value:
        """The policy for a program that begins now."""
        promised = self.ratio * sum(self._running.values())
        share = max(0.0, self._tokens - self.spent - promised) / max(1, self._left)
        rule = self._rule.priced(share / self.ratio)
        self._running[program] = rule.expected
        self._left -= 1
        return rule

    def end(self, program: str, tokens: int) -> None:
        """Take in what a program has spent."""
        self._expected += self._running.pop(program)
        self.spent += tokens

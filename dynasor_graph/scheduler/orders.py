"""Orders: which program goes first. Pure: a standing in, a number out, the least goes first.

No order reads a clock. Ageing is built into the number: expected work + rate x arrival sorts at every
moment as expected work - rate x waiting does, so a queue needs no re-sorting while time passes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dynasor_graph.errors import UnknownName, explain
from dynasor_graph.scheduler.standing import Standing

__all__ = [
    "EarliestDeadline",
    "FirstCome",
    "Gang",
    "ORDERS",
    "Order",
    "ProgramFifo",
    "ShortestFirst",
    "order_named",
]

Finite = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Order(BaseModel):
    """An order over programs; subclass it for one of your own.

    Attributes:
        by_request: Whether each request stands alone, as in a plain engine. Else the requests of a
            program stand together: none of another program comes between them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    by_request: ClassVar[bool] = False

    def key(self, standing: Standing) -> float:
        """Where the program stands; the least goes first. Ties: the hotter prefix, then arrival.

        It may not be NaN; infinity is last. Times a thousand it becomes vLLM's priority.
        """
        raise NotImplementedError

    def due(self, standing: Standing) -> float:
        """Seconds on the clock from which on it goes before all that are not due; earliest first."""
        return math.inf

    def lapses(self, standing: Standing) -> float:
        """Seconds on the clock from which on it goes behind all that have not lapsed."""
        return math.inf


class FirstCome(Order):
    """`fcfs`: requests by arrival, whichever program they belong to; what plain vLLM does."""

    by_request: ClassVar[bool] = True

    def key(self, standing: Standing) -> float:
        """When the request arrived."""
        return standing.arrived


class ProgramFifo(Order):
    """`program-fifo`: all requests of a program together, programs by arrival (Parrot's gang)."""

    def key(self, standing: Standing) -> float:
        """When the program arrived."""
        return standing.arrived


class Gang(Order):
    """`gang`: all requests of a program together, the program that was begun first (appendix D.3.1).

    It differs from `program-fifo` where a program arrives long before its first request: who has
    begun goes on before who has merely come.
    """

    def key(self, standing: Standing) -> float:
        """When the program was begun; those that were not stand behind, by arrival."""
        return math.inf if standing.begun is None else standing.begun


class ShortestFirst(Order):
    """`sjf`: gang, and the program with the least work left goes first (appendix D.3.1).

    Nobody starves, in two ways that the paper leaves open. Ageing: a program of W tokens is passed
    only by programs that arrive within W / `ageing` seconds after it. Escalation: a program whose
    latency comes to `phi` seconds for each of its tokens goes before all that are not so late; it
    is passed only by programs that arrive within W x `phi` seconds. So under an endless stream of
    shorter programs that come as fast as load `l` (1: all the engine can do), it has begun after
    the work that was there before it and l x W x min(1 / `ageing`, `phi`) seconds.

    Deadlines, where programs have them: who cannot keep its own any more goes behind all that can,
    until it is escalated.

    Attributes:
        ageing: Tokens of work that a second of waiting makes up for; 0 switches ageing off.
        phi: Seconds for each output token (finish-time fairness) from which on a program is
            escalated; None switches escalation off.
    """

    ageing: Finite = 50.0
    phi: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = 0.5

    def key(self, standing: Standing) -> float:
        """Expected work, aged, in whole tokens: programs that differ by less are equal."""
        return float(round(standing.work + self.ageing * standing.arrived))

    def due(self, standing: Standing) -> float:
        """When its latency will be `phi` for each token that it will have generated."""
        if self.phi is None:
            return math.inf
        return standing.arrived + self.phi * (standing.generated + standing.work)

    def lapses(self, standing: Standing) -> float:
        """When its deadline cannot be kept any more."""
        return standing.lapses


class EarliestDeadline(Order):
    """`edf`: all requests of a program together, the one whose answer is due first.

    Who cannot keep its deadline any more goes behind all that can: else, under too much load, each
    is served just too late (the domino effect of earliest deadline first).

    Attributes:
        patience: Seconds after its arrival at which a program without a deadline counts as due, so
            that it does not wait behind deadlines for ever.
    """

    patience: Finite = 600.0

    def key(self, standing: Standing) -> float:
        """The deadline."""
        return standing.arrived + self.patience if standing.deadline is None else standing.deadline

    def lapses(self, standing: Standing) -> float:
        """When its deadline cannot be kept any more."""
        return standing.lapses


ORDERS: Mapping[str, type[Order]] = {
    "fcfs": FirstCome,
    "program-fifo": ProgramFifo,
    "gang": Gang,
    "sjf": ShortestFirst,
    "edf": EarliestDeadline,
}
"""The orders by name."""


def order_named(name: str, **parameters: Any) -> Order:
    """The order of that name.

    Raises:
        UnknownName: There is none.
        ConfigError: A parameter does not exist or is out of range.
    """
    if name not in ORDERS:
        raise UnknownName("order", name, ORDERS)
    try:
        return ORDERS[name](**parameters)
    except ValidationError as error:
        raise explain(error, f"order {name!r}") from None

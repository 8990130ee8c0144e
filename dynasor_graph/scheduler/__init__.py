"""Scheduler: an engine in front of an engine, which orders the requests of all programs."""

from dynasor_graph.scheduler.admission import Admission
from dynasor_graph.scheduler.orders import (
    ORDERS,
    EarliestDeadline,
    FirstCome,
    Gang,
    Order,
    ProgramFifo,
    ShortestFirst,
    order_named,
)
from dynasor_graph.scheduler.scheduled import Scheduled
from dynasor_graph.scheduler.seam import UNSCHEDULED, Scheduler, scheduler_of
from dynasor_graph.scheduler.standing import Standing
from dynasor_graph.scheduler.turns import Counts

__all__ = [
    "Admission",
    "Counts",
    "EarliestDeadline",
    "FirstCome",
    "Gang",
    "ORDERS",
    "Order",
    "ProgramFifo",
    "Scheduled",
    "Scheduler",
    "ShortestFirst",
    "Standing",
    "UNSCHEDULED",
    "order_named",
    "scheduler_of",
]

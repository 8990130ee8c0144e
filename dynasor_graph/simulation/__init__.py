"""Simulation: an engine's batching and its time, without a model."""

from dynasor_graph.simulation.job import Job
from dynasor_graph.simulation.machine import INSTANT, Machine
from dynasor_graph.simulation.run import Clocked, Run
from dynasor_graph.simulation.speed import SPEEDS, Speed, read_speed

__all__ = ["INSTANT", "SPEEDS", "Clocked", "Job", "Machine", "Run", "Speed", "read_speed"]

"""Self-consistency for `langgraph dev`: the built-in graph, on the engine at DYNASOR_ENGINE."""

import os

import dynasor_graph as dg

ENGINE = os.environ.get("DYNASOR_ENGINE", "http://127.0.0.1:8000")
dg.register("default", lambda: dg.open_engine(ENGINE))  # opened at the first question

graph = dg.find_algorithm("self_consistency").graph

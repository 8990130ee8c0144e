"""Rebase for `langgraph dev`: the built-in graph, on DYNASOR_ENGINE, judged by DYNASOR_REWARD."""

import os

import dynasor_graph as dg

ENGINE = os.environ.get("DYNASOR_ENGINE", "http://127.0.0.1:8000")
REWARD = os.environ.get("DYNASOR_REWARD", "http://127.0.0.1:8001")
dg.register("default", lambda: dg.open_engine(ENGINE))  # opened at the first question
dg.register_reward("default", lambda: dg.open_reward(REWARD))

graph = dg.find_algorithm("rebase").graph

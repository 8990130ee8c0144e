"""Replay: what any policy would have done with recorded samples, in any window."""

from dynasor_graph.replay.arms import Replayed, Study, StudyRow
from dynasor_graph.replay.chains import ChainOutcome, Costs, replay_chain, shorten, study_chains
from dynasor_graph.replay.engine import ReplayEngine
from dynasor_graph.replay.paths import Paths, all_paths, paths_of
from dynasor_graph.replay.reliability import (
    Bin,
    Correlation,
    Reliability,
    correlations,
    reliability,
)
from dynasor_graph.replay.study import study
from dynasor_graph.replay.votes import Ballot, Decider, Outcome, Vote, replay_votes

__all__ = [
    "Ballot",
    "Bin",
    "ChainOutcome",
    "Correlation",
    "Costs",
    "Decider",
    "Outcome",
    "Paths",
    "Reliability",
    "ReplayEngine",
    "Replayed",
    "Study",
    "StudyRow",
    "Vote",
    "all_paths",
    "correlations",
    "paths_of",
    "reliability",
    "replay_chain",
    "replay_votes",
    "shorten",
    "study",
    "study_chains",
]

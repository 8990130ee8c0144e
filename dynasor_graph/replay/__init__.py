"""Replay: what any policy would have done with recorded samples, in any window."""

from dynasor_graph.replay.arms import Replayed, Study, StudyRow
from dynasor_graph.replay.chains import ChainOutcome, Costs, replay_chain, shorten, study_chains
from dynasor_graph.replay.engine import ReplayEngine
from dynasor_graph.replay.study import study
from dynasor_graph.replay.votes import Ballot, Decider, Outcome, Vote, replay_votes

__all__ = [
    "Ballot",
    "ChainOutcome",
    "Costs",
    "Decider",
    "Outcome",
    "ReplayEngine",
    "Replayed",
    "Study",
    "StudyRow",
    "Vote",
    "replay_chain",
    "replay_votes",
    "shorten",
    "study",
    "study_chains",
]

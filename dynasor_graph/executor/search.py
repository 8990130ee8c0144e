"""Search: the settings, the state and the steps that all tree searches share.

A step grows one partial solution by one piece (a line, say) and lets the reward judge it. Each step is
a LangGraph task, so that a crash in the middle of a tree loses the steps in flight and no others.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from langgraph.types import Overwrite
from pydantic import Field
from typing_extensions import TypedDict

from dynasor_graph.budget import Usage
from dynasor_graph.certaindex import entropy_certaindex
from dynasor_graph.executor.context import Context
from dynasor_graph.executor.program import Program
from dynasor_graph.executor.sample import prompt_usage
from dynasor_graph.executor.state import Branch, Reasoning, begin as begin_common
from dynasor_graph.executor.tally import elect, outcome
from dynasor_graph.executor.tree import Node, Tree
from dynasor_graph.policies import Progress
from dynasor_graph.reward import DEFAULT_REWARD, Partial, Reward, reward_named, score
from dynasor_graph.types import JSON, FinishReason, StopReason

__all__ = [
    "Judged",
    "Scored",
    "Search",
    "Searching",
    "Step",
    "Stepper",
    "begin_search",
    "conclude",
]


class Judged(Context):
    """The settings of algorithms whose solutions a reward judges."""

    gives: ClassVar[frozenset[str]] = frozenset({"votes", "order", "rewards"})

    reward: str = Field(DEFAULT_REWARD, description="name of a registered reward")
    vote: Literal["weighted", "best", "majority"] = Field(
        "weighted",
        description="answers weigh by their rewards, the best alone counts, or all alike",
    )


class Search(Judged):
    """The settings of searches that go step by step."""

    has_last_word: ClassVar[bool] = True

    step_ends: tuple[str, ...] = Field(("\n",), description="texts that end a step")
    step_end_ids: tuple[int, ...] = Field((), description="token ids that end a step")
    step_tokens: int = Field(256, ge=1, description="most tokens of a step; a longer one is cut")
    depth: int = Field(25, ge=1, description="most steps of a solution (Rebase's code: 25)")


class Searching(Reasoning, total=False):
    """State: the tree so far. `frontier` names the steps that the next level grows from."""

    nodes: Annotated[list[Node], operator.add]
    frontier: list[int]


class Step(TypedDict):
    """What was generated in one step, or in a few: plain JSON, and all that is to know of it.

    `nodes` is empty where the step was stopped before it was whole. `texts` has, for each of them, the
    whole solution up to there.
    """

    nodes: list[Node]
    texts: list[str]
    finish: FinishReason
    seconds: float
    usage: dict[str, int]


class Scored(TypedDict):
    """What a reward said of a batch: one number each, and the tokens that it computed for all."""

    rewards: list[float]
    computed: int


async def begin_search(state: Searching) -> JSON:
    """Reset the counters, and the tree."""
    return await begin_common(state) | {"nodes": Overwrite([]), "frontier": []}


S = TypeVar("S", bound=Search)


class Stepper:
    """Grows partial solutions of one program step by step, and has them judged in batches.

    Args:
        p: The open round.
        tree: What has grown so far.
        prompt: Token ids before every solution.
        reward: What judges them.
        cap: The knob's cap, for the policy.
    """

    def __init__(
        self, p: Program[Any], tree: Tree, prompt: tuple[int, ...], reward: Reward, cap: int
    ) -> None:
        self.p, self.tree, self.prompt, self.reward, self.cap = p, tree, prompt, reward, cap
        self.room = p.room(len(prompt))
        self.nodes: list[Node] = []
        self.ended: list[Branch] = []

    @classmethod
    async def of(cls, p: Program[S], state: Searching, cap: int) -> Stepper:
        """The stepper of an open round."""
        reward = await reward_named(p.settings.reward)
        return cls(p, Tree(state["nodes"]), await p.prompt(), reward, cap)

    # One step ----------------------------------------------------------------------------------

    def longest(self, parent: int) -> int:
        """Most tokens that the step after this one may have; 0 if the path is as long as it may be."""
        left = self.room - len(self.tree.tokens(parent))
        most: int = self.p.settings.step_tokens
        return max(0, min(most, left))

    def usual(self) -> int:
        """Mean tokens of a step so far; fewer are of no use."""
        nodes = self.tree.nodes.values()
        return max(1, sum(len(node["tokens"]) for node in nodes) // max(1, len(nodes)))

    async def grow(
        self, id_: int, parent: int, tokens: int, *, rest_of: Sequence[int] | None = None
    ) -> Step:
        """Grow one step; as a coroutine of a task it returns plain JSON.

        Args:
            id_: The new step's id, and its seed.
            parent: The step before.
            tokens: Most tokens to generate.
            rest_of: Tokens of the solution so far: go on from there to its end, not to the end of a
                step. The parent need not be in the tree yet.
        """
        p, started = self.p, self.p.seconds
        before = self.tree.tokens(parent) if rest_of is None else rest_of
        so_far = self.prompt + tuple(before)
        request = p.request(so_far, tokens, id_)
        if rest_of is None:
            s = p.settings
            request = replace(request, stop=s.step_ends, stop_token_ids=s.step_end_ids)
        made = await p.in_flight.complete(request)
        stopped = made.finish_reason == "terminated"
        usage = prompt_usage(so_far, made) + Usage(
            main=0 if stopped else made.tokens, terminated=made.tokens if stopped else 0
        )
        nodes, texts = [], []
        if not stopped:
            path = [*before, *made.token_ids]
            text = await p.engine.decode(path)
            full = len(path) >= self.room or rest_of is not None
            ended = made.at_end or full or self.tree.depth(parent) + 1 >= p.settings.depth
            answer = None
            if ended:
                answer = p.settings.answer_in(text, finished=made.at_end)
            node = Node(
                id=id_, parent=parent, tokens=made.token_ids, reward=0.0, ended=ended, answer=answer
            )
            nodes.append(node)
            texts.append(text)
        return Step(
            nodes=nodes,
            texts=texts,
            finish=made.finish_reason,
            seconds=p.seconds - started,
            usage=usage.lines(),
        )

    async def judge(self, steps: Sequence[Step], before: Sequence[int] | None = None) -> Scored:
        """What the reward says of all these steps, in one batch; as a task's result it is plain JSON.

        Args:
            steps: Fresh from `grow`.
            before: Tokens of the solution before each of them; by default those of its parent.
        """
        partials = [
            Partial(
                question=self.p.question,
                prompt=self.prompt,
                tokens=(
                    *(self.tree.tokens(node["parent"]) if before is None else before),
                    *node["tokens"],
                ),
                text=text,
                ended=node["ended"],
            )
            for step in steps
            for node, text in zip(step["nodes"], step["texts"], strict=True)
        ]
        scores = await score(self.reward, partials)
        return Scored(
            rewards=[round(one.value, 6) for one in scores],
            computed=sum(one.computed for one in scores),
        )

    # What a step means -------------------------------------------------------------------------

    async def take_in(self, step: Step, usage: Usage) -> bool:
        """Add steps that were judged to the tree; those that ended are branches, and vote.

        Args:
            step: What was generated.
            usage: What it cost, for the trace.

        Returns:
            Whether any has ended.
        """
        p, ended = self.p, False
        for node, text in zip(step["nodes"], step["texts"], strict=True):
            self.tree.add(node)
            self.nodes.append(node)
            if node["ended"]:
                branch = self._branch(node, text, step["seconds"])
                self.ended.append(branch)
                await p.tally.add(branch)
                p.emit_branch(branch, votes=p.tally.votes, empty=p.tally.empty)
                ended = True
        p.certaindex = entropy_certaindex(p.tally.votes, p.tally.empty)
        shown = [{k: v for k, v in node.items() if k != "tokens"} for node in step["nodes"]]
        sizes = [len(node["tokens"]) for node in step["nodes"]]
        p.emit("step", nodes=shown, sizes=sizes, usage=usage.lines(), seconds=step["seconds"])
        return ended

    def progress(self, knob: int | None = None) -> Progress:
        """What the policy may know; the knob is the number of finished paths unless given."""
        tally = self.p.tally
        return Progress(
            knob=tally.finished if knob is None else knob,
            cap=self.cap,
            votes=tally.votes,
            empty=tally.empty,
            order=tally.order,
            rewards=tally.rewards,
            tokens=self.p.ledger.usage.generated,
            mean_tokens=tally.mean_tokens,
        )

    def _branch(self, node: Node, text: str, seconds: float) -> Branch:
        # Its tokens are on the ledger already, step by step.
        return Branch(
            index=node["id"],
            round=self.p.rounds,
            answer=node["answer"],
            text=text,
            tokens=len(self.tree.tokens(node["id"])),
            finish="stop",
            logprob=None,
            seconds=seconds,
            usage={},
            reward=node["reward"],
        )


async def conclude(p: Program[S], state: Searching) -> JSON:
    """The answer of the finished paths; where there is none yet, of the most promising one.

    That one is completed if the budget leaves anything, so that a search which is cut short has an
    answer too.
    """
    leader = elect(p.tally, p.settings.vote)
    if leader is not None:
        return outcome(p.tally, leader)
    tree = Tree(state["nodes"])
    open_ = [node for node in tree.nodes.values() if not node["ended"]]
    if not open_ or state["stop_reason"] == StopReason.DEADLINE:
        return outcome(p.tally, None)
    best = max(open_, key=lambda node: (tree.depth(node["id"]), node["reward"]))
    so_far, prompt = tree.tokens(best["id"]), await p.prompt()
    left = p.room(len(prompt)) - len(so_far)
    said = await p.say((*prompt, *so_far), left) if left > 0 else ""
    text = await p.engine.decode(so_far) + said
    return {
        "answer": p.settings.answer_in(text, finished=False),
        "text": text,
        "usage": p.ledger.usage.to_json(),
        "seconds": p.seconds,
    }

# ruff: noqa: T201 - the demo at the end talks to a terminal
"""A tutor that knows when to ask: sample answers; unsure, think longer; still unsure, ask a person.

`graph` is not compiled: it waits for the person between two runs, and where its threads are kept
meanwhile is your choice: `graph.compile(checkpointer=...)`. To try it on a terminal:

    python workflows/tutor.py "Zoe has 3 cards. Emil has 4 more cards than Zoe. How many has Emil?"
"""

import asyncio
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import Command, Overwrite, interrupt

import dynasor_graph as dg

ENGINE = os.environ.get("DYNASOR_ENGINE", "http://127.0.0.1:8000")
dg.register("default", lambda: dg.open_engine(ENGINE))  # opened at the first question


@dataclass(frozen=True, kw_only=True)
class Tutoring:
    """How sure the tutor has to be before it answers without asking.

    Attributes:
        sure: Least certaindex of the samples. 0.85 at 20 samples means that 17 of them agree.
        settled: Least certaindex of the thought: the share of its last probes that agree.
        dynasor: Settings that both subgraphs know, such as `engine`, `budget` and `system`.
    """

    sure: float = 0.85
    settled: float = 1.0
    dynasor: dict[str, Any] = field(default_factory=dict)


def add_usage(before: dict[str, int], more: dict[str, int]) -> dict[str, int]:
    """Each subgraph reports its own tokens; the tutor's are their sum."""
    return (dg.Usage.from_json(before) + dg.Usage.from_json(more)).to_json()


class Lesson(MessagesState, total=False):
    """The state. Keys that the subgraphs have too are handed to them, and written by them."""

    question: str
    answer: str | None
    certaindex: float
    usage: Annotated[dict[str, int], add_usage]
    reply: Literal["accept", "hint", "answer"]


async def read(state: Lesson) -> dict[str, Any]:
    """Take the newest question, and forget what an earlier one left on this thread."""
    asked = [str(message.text) for message in state["messages"] if message.type == "human"]
    if not asked or not asked[-1].strip():
        raise dg.InputError("messages must hold a question: a message of role 'user', not empty")
    return {"question": asked[-1], "usage": Overwrite({}), "reply": "accept"}


def told(runtime: Runtime[Any]) -> Tutoring:
    """What this run was told; without a context, or inside somebody else's graph, the defaults."""
    return runtime.context if isinstance(runtime.context, Tutoring) else Tutoring()


async def after_sample(state: Lesson, runtime: Runtime[Any]) -> Literal["sure", "unsure"]:
    """Do enough samples agree?"""
    return "sure" if state["certaindex"] >= told(runtime).sure else "unsure"


async def after_think(state: Lesson, runtime: Runtime[Any]) -> Literal["sure", "unsure"]:
    """Did the answer hold while it was thinking?"""
    return "sure" if state["certaindex"] >= told(runtime).settled else "unsure"


async def ask(state: Lesson) -> dict[str, Any]:
    """Wait for a person, who gives the answer, or a hint to think again with, or says "ok"."""
    shown = {key: state.get(key) for key in ("question", "answer", "certaindex")}
    said = str(interrupt({**shown, "reply": "the answer, or 'hint: ...', or 'ok'"})).strip()
    if said.lower() in {"", "ok"}:
        return {"reply": "accept"}
    if said.lower().startswith("hint:"):
        return {"reply": "hint", "question": f"{state['question']}\nHint: {said[5:].strip()}"}
    return {"reply": "answer", "answer": said}


async def after_ask(state: Lesson) -> Literal["accept", "hint", "answer"]:
    """Which of the three it was."""
    return state["reply"]


async def answer(state: Lesson) -> dict[str, Any]:
    """Say it, with who found it, how settled it was for the model, and what it cost."""
    about = {
        "by": "person" if state["reply"] == "answer" else "model",
        "certaindex": state["certaindex"],
        "net_tokens": state["usage"]["net"],
    }
    return {"messages": [AIMessage(state["answer"] or "I do not know.", additional_kwargs=about)]}


graph = (
    StateGraph(Lesson, context_schema=Tutoring, input_schema=MessagesState)
    .add_node(read)
    .add_node("sample", dg.find_algorithm("self_consistency").compile())
    .add_node("think", dg.find_algorithm("cot").compile())
    .add_node(ask)
    .add_node(answer)
    .add_edge(START, "read")
    .add_edge("read", "sample")
    .add_conditional_edges("sample", after_sample, {"sure": "answer", "unsure": "think"})
    .add_conditional_edges("think", after_think, {"sure": "answer", "unsure": "ask"})
    .add_conditional_edges(
        "ask", after_ask, {"hint": "think", "accept": "answer", "answer": "answer"}
    )
    .add_edge("answer", END)
)


async def main(question: str, engine: dg.Engine, listen: Callable[[str], str] = input) -> None:
    """Give one lesson on the terminal: show what happens, and ask there."""
    tutor = graph.compile(checkpointer=InMemorySaver(), name="tutor")
    thread: RunnableConfig = {"configurable": {"thread_id": "terminal"}}
    given: Any = {"messages": [{"role": "user", "content": question}]}
    async with engine:
        dg.register("default", engine)
        while given is not None:
            run = tutor.astream(
                given, thread, stream_mode=["custom", "values"], subgraphs=True, version="v2"
            )
            given = None
            async for part in run:
                if part["type"] == "custom":
                    event = part["data"]
                    print({key: event.get(key) for key in ("event", "answer", "certaindex")})
                elif part["type"] == "values" and part["interrupts"] and not part["ns"]:
                    print("I am not sure:", part["interrupts"][0].value)
                    given = Command(resume=await asyncio.to_thread(listen, "> "))
    print((await tutor.aget_state(thread)).values["messages"][-1])


if __name__ == "__main__":
    asyncio.run(main(" ".join(sys.argv[1:]), dg.open_engine(ENGINE)))

"""The report: one self-contained page, whatever the arms have in them."""

from __future__ import annotations

import re
from contextlib import aclosing
from html.parser import HTMLParser
from pathlib import Path

import pytest

import dynasor_graph as dg
from dynasor_graph.comparison import Arm, compare
from dynasor_graph.report import write_report

pytestmark = pytest.mark.anyio

ABOUT = {"model": "abacus-7m", "date": "2026-11-22"}
NASTY = "<script>alert('7')</script> & 3 < 4?"
VOID = {"meta", "br", "link", "img", "input", "hr", "use", "path", "rect", "circle", "line", "stop"}


class Reader(HTMLParser):
    """Collects the tags, and notices those that are never closed."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [
            value or "" for name, value in attrs if name in {"src", "href", "xlink:href"}
        ]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


async def make_arms(folder: Path, *, gold: bool = True, traced: bool = True) -> list[Arm]:
    """Real arms, from the scripted engine: branches that agree and branches that do not."""
    questions = [
        dg.Question(id=f"abacus-s{i}-{i:04}", text=f"{NASTY} {i}", gold="4" if gold else None)
        for i in range(1, 8)
    ]
    arms = []
    for policy in ("fixed", "certaindex", "beta"):
        trace = folder / f"{policy}.jsonl" if traced else None
        replies = [r"\boxed{4}", r"\boxed{4}", r"I think it is \boxed{5}", r"\boxed{4}", "hm"]
        async with dg.FakeEngine(replies) as engine:
            with dg.TraceWriter(folder / f"{policy}.jsonl") as writer:
                runner = dg.Runner(engine=engine, policy=policy, on_event=writer.write)
                async with aclosing(runner.run(questions)) as results:
                    found = [result async for result in results]
        arms.append(Arm(algorithm="self_consistency", policy=policy, results=found, trace=trace))
    return arms


def read(path: Path) -> tuple[str, Reader]:
    text = path.read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    return text, reader


@pytest.mark.parametrize(
    ("gold", "traced"),
    [
        pytest.param(True, True, id="all-there-is"),
        pytest.param(False, True, id="without-gold"),
        pytest.param(True, False, id="without-traces"),
    ],
)
async def test_a_report_is_one_page_that_needs_nothing_else(
    gold: bool, traced: bool, tmp_path: Path
):
    arms = await make_arms(tmp_path, gold=gold, traced=traced)
    write_report(tmp_path / "report.html", arms, compare(arms), title="A title", about=ABOUT)
    text, reader = read(tmp_path / "report.html")
    assert text.lower().startswith("<!doctype html>")
    assert not [link for link in reader.links if link.startswith(("http", "//", "file"))]
    assert reader.tags.count("svg") >= (3 if gold and traced else 2)
    assert "script" not in reader.tags
    assert "&lt;script&gt;" in text
    for arm in arms:
        assert arm.policy in text
    assert "tutorial model" in text


async def test_the_headline_says_what_the_rows_say(tmp_path: Path):
    arms = await make_arms(tmp_path)
    rows = compare(arms)
    write_report(tmp_path / "report.html", arms, rows, title="A title", about=ABOUT)
    text, _ = read(tmp_path / "report.html")
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text)).replace("\u202f", " ")
    share = f"{100 * (1 - rows[2]['saved']):.0f}"
    assert re.search(rf"beta spent {share}\s*%", words.replace("\xa0", " "))


async def test_one_arm_alone_is_reported_too(tmp_path: Path):
    arms = (await make_arms(tmp_path))[:1]
    write_report(tmp_path / "report.html", arms, compare(arms), title="A title", about=ABOUT)
    _, reader = read(tmp_path / "report.html")
    assert reader.tags.count("svg") >= 1


async def test_a_report_on_nothing_is_refused(tmp_path: Path):
    with pytest.raises(dg.InputError):
        write_report(tmp_path / "report.html", [], [], title="A title", about=ABOUT)

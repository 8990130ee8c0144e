"""The report: one self-contained page, whatever the arms have in them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import dynasor_graph as dg
from dynasor_graph.comparison import Arm, compare
from dynasor_graph.report import write_report
from dynasor_graph.report.svg import COLOURS

pytestmark = pytest.mark.anyio

ABOUT = {"model": "abacus-7m", "date": "2025-11-22"}
NASTY = "<script>alert('7')</script> & 3 < 4, at $2 or $3?"
VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """A page as read: its tags, ids, links and words; every tag has to be closed in its place."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.ids: Counter[str] = Counter()
        self.links: list[str] = []
        self.labels: list[str] = []
        self.open: list[str] = []
        self.words = ""
        self.html = path.read_text(encoding="utf-8")
        self.feed(self.html)
        self.close()
        assert self.open == []
        self.words = " ".join(self.words.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.words += " "
        for name, value in attrs:
            if name == "id":
                self.ids[value or ""] += 1
            if name in {"src", "href", "xlink:href", "action"}:
                self.links.append(value or "")
        if tag == "svg":
            self.labels.append(dict(attrs).get("aria-label") or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.words += " "

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words += data


def result(name: str, **changes: Any) -> dg.Result:
    values: dict[str, Any] = {
        "id": name,
        "question": f"How many coins has {name}?",
        "gold": "4",
        "answer": "4",
        "correct": True,
        "stop_reason": dg.StopReason.FINISHED,
        "usage": dg.Usage(main=100, prompt=20),
        "latency_s": 0.5,
    }
    return dg.Result(**(values | changes))


def stopped(name: str, **changes: Any) -> dg.Result:
    return result(
        name,
        stop_reason=dg.StopReason.CERTAIN,
        **{"usage": dg.Usage(main=30, terminated=10, prompt=20)} | changes,
    )


def arm(*results: dg.Result, policy: str = "fixed", trace: Path | None = None, **more: Any) -> Arm:
    return Arm(
        **{"algorithm": "self_consistency", "policy": policy, "results": results, "trace": trace}
        | more
    )


def record(path: Path, curves: Mapping[str, tuple[Sequence[float], bool]], *, probes: bool) -> Path:
    """A trace: program -> Certaindex at each branch or probe, and whether the last one stopped it."""
    with dg.TraceWriter(path) as trace:
        for name, (values, stops) in curves.items():
            trace.write({"event": "program", "program": name})
            for i, value in enumerate(values, start=1):
                measured = {"program": name, "certaindex": value}
                if probes:
                    trace.write({"event": "probe", "at": 32 * i, **measured})
                else:
                    trace.write({"event": "branch", "finish": "stop", **measured})
                verdict = "terminate" if stops and i == len(values) else "continue"
                trace.write({"event": "decision", "verdict": verdict, "knob": i, **measured})
            left = {"event": "branch", "program": name, "finish": "terminated", "certaindex": 0.5}
            trace.write(left)
    return path


def report(folder: Path, arms: Sequence[Arm], about: dict[str, str] = ABOUT) -> Page:
    path = folder / "pages" / "report.html"
    write_report(path, arms, compare(arms), title="A title", about=about)
    return Page(path)


async def make_arms(folder: Path) -> list[Arm]:
    """Real arms, from the scripted engine: branches that agree and branches that do not."""
    questions = [
        dg.Question(id=f"abacus-s{i}-{i:04}", text=f"{NASTY} {i}", gold="4") for i in range(1, 8)
    ]
    arms = []
    for policy in ("fixed", "certaindex", "beta"):
        replies = [r"\boxed{4}", r"\boxed{4}", r"I think it is \boxed{5}", r"\boxed{4}", "hm"]
        async with dg.FakeEngine(replies) as engine:
            with dg.TraceWriter(folder / f"{policy}.jsonl") as writer:
                runner = dg.Runner(engine=engine, policy=policy, on_event=writer.write)
                async with aclosing(runner.run(questions)) as results:
                    found = [result async for result in results]
        arms.append(arm(*found, policy=policy, trace=folder / f"{policy}.jsonl"))
    return arms


async def test_a_report_of_real_runs_is_one_page_that_needs_nothing_else(tmp_path: Path):
    arms = await make_arms(tmp_path)
    page = report(tmp_path, arms)
    assert page.html.lower().startswith("<!doctype html>")
    assert page.tags["html"] == 1
    assert not page.tags.keys() & {"script", "link", "img", "iframe"}
    assert page.links
    assert all(link.startswith("#") for link in page.links)
    assert "<script" not in page.html
    assert NASTY in page.words
    assert {"fixed", "certaindex", "beta"} <= set(page.words.split())
    share = 100 * (1 - compare(arms)[2]["saved"])
    assert f"beta spent {share:.0f} % of the full budget's net tokens; accuracy" in page.words


def test_equal_input_gives_an_equal_page(tmp_path: Path):
    arms = [arm(result("a")), arm(stopped("a"), policy="beta")]
    assert report(tmp_path, arms).html == report(tmp_path, arms).html


def test_the_parts_of_two_figures_never_share_an_id_or_a_style(tmp_path: Path):
    page = report(tmp_path, [arm(result("a")), arm(result("a"), algorithm="cot")])
    assert page.tags["svg"] == 4
    assert all(page.labels)
    assert [name for name, count in page.ids.items() if count > 1] == []
    assert {link[1:] for link in page.links} <= page.ids.keys()
    assert page.tags["style"] == 1


def test_every_colour_of_a_plot_follows_the_light_and_the_dark_scheme(tmp_path: Path):
    page = report(tmp_path, [arm(result("a")), arm(stopped("a"), policy="beta")])
    plots = "".join(re.findall("<svg.*?</svg>", page.html, re.DOTALL))
    assert not re.search("#[0-9a-f]{6}", plots)
    used = set(re.findall(r"var\(--([\w-]+)\)", plots))
    assert {"ink", "policy-0", "policy-1"} <= used <= {colour.name for colour in COLOURS}
    assert "prefers-color-scheme: dark" in page.html


def test_a_policy_has_one_colour_in_all_algorithms(tmp_path: Path):
    names = ["fixed", "beta", "lossless"]
    arms = [arm(result("a"), policy=name) for name in names]
    arms += [arm(result("a"), policy=name, algorithm="cot") for name in ("fixed", "lossless")]
    html = report(tmp_path, arms).html
    signs = re.findall(r'var\(--(policy-\d)\)" aria-hidden="true">\S+</span> (\w+)', html)
    assert set(signs) == {("policy-0", "fixed"), ("policy-1", "beta"), ("policy-2", "lossless")}


@pytest.mark.parametrize(
    ("correct", "sentence"),
    [
        pytest.param([True] * 3, "accuracy 0.0 points (95 % interval 0.0 to 0.0).", id="equal"),
        pytest.param(
            [False] * 3,
            "accuracy \N{MINUS SIGN}100.0 points "
            "(95 % interval \N{MINUS SIGN}100.0 to \N{MINUS SIGN}100.0).",
            id="worse",
        ),
        pytest.param([None] * 3, "it gave the same answer to 100.0 % of the questions.", id="open"),
    ],
)
def test_the_headline_compares_with_the_full_budget(
    correct: list[bool | None], sentence: str, tmp_path: Path
):
    base = arm(*(result(name) for name in "abc"))
    cheap = arm(*(stopped(n, correct=c) for n, c in zip("abc", correct, strict=True)), policy="b")
    page = report(tmp_path, [base, cheap])
    assert f"b spent 40 % of the full budget's net tokens; {sentence}" in page.words


def test_the_headline_names_a_baseline_that_is_not_the_full_budget(tmp_path: Path):
    page = report(tmp_path, [arm(result("a"), policy="lossless"), arm(stopped("a"), policy="b")])
    assert "b spent 40 % of lossless's net tokens" in page.words


def test_one_arm_alone_is_compared_with_nothing(tmp_path: Path):
    page = report(tmp_path, [arm(result("a"), result("b", correct=False))])
    assert "fixed spent 100 net tokens a question; 50.0 % right." in page.words
    assert "saved" not in page.words.partition("Accuracy against")[0]
    assert len(page.labels) == 2


def test_without_gold_there_is_no_accuracy(tmp_path: Path):
    open_ended = {"gold": None, "correct": None}
    arms = [arm(result("a", **open_ended)), arm(stopped("a", **open_ended), policy="beta")]
    page = report(tmp_path, arms)
    assert "there is no accuracy to draw" in page.words
    assert "same answer" in page.words
    assert ["accuracy" in label for label in page.labels] == [False]


def test_an_arm_that_failed_throughout_stands_in_the_tables_alone(tmp_path: Path):
    failure = {"error": "PromptTooLong: 9 tokens", "correct": None, "stop_reason": None}
    page = report(tmp_path, [arm(result("a")), arm(result("a", **failure), policy="beta")])
    assert "1 program failed and counts in no accuracy" in page.words
    assert "failed: PromptTooLong: 9 tokens" in page.words
    assert page.labels[0].startswith("self_consistency: accuracy against net tokens")


def test_without_traces_the_page_says_so(tmp_path: Path):
    page = report(tmp_path, [arm(result("a"))])
    assert "No traces were recorded, so there is nothing to draw here." in page.words


def test_traces_that_measured_nothing_are_no_plot(tmp_path: Path):
    trace = record(tmp_path / "t.jsonl", {"a": ([], False)}, probes=False)
    page = report(tmp_path, [arm(result("a"), trace=trace)])
    assert "The traces hold no measurement of Certaindex." in page.words


def test_a_trace_that_is_not_there_is_an_error(tmp_path: Path):
    with pytest.raises(dg.InputError, match="no such file"):
        report(tmp_path, [arm(result("a"), trace=tmp_path / "gone.jsonl")])


def test_the_questions_that_are_drawn_show_each_kind_once(tmp_path: Path):
    curves: dict[str, tuple[list[float], bool]] = {
        "now": ([0, 1], True),
        "soon": ([0, 0, 1], True),
        "late": ([0, 0, 0, 0, 0.6], True),
        "wrong": ([0, 1], True),
        "open": ([0, 0, 0, 0, 0, 0], False),
        "lucky": ([0, 0, 0, 0, 0.1, 0.2], False),
    }
    full = {name: ([0, 0, 0, 0, 0, 0], False) for name in curves}
    ends = [
        stopped("late"),
        stopped("wrong", answer="5", correct=False),
        stopped("now"),
        stopped("soon"),
        result("lucky"),
        result("open", answer="5", correct=False),
    ]
    arms = [
        arm(*map(result, curves), trace=record(tmp_path / "f.jsonl", full, probes=False)),
        arm(*ends, policy="beta", trace=record(tmp_path / "b.jsonl", curves, probes=False)),
    ]
    page = report(tmp_path, arms)
    assert [label for label in page.labels if "Certaindex" in label] == [
        "Settled at once: Certaindex of now over finished branches",
        "Settled midway: Certaindex of soon over finished branches",
        "Settled late: Certaindex of late over finished branches",
        "Settled on a wrong answer: Certaindex of wrong over finished branches",
        "Never settled: Certaindex of open over finished branches",
        "Never settled, and yet right: Certaindex of lucky over finished branches",
    ]
    assert "Questions chosen by what beta did." in page.words


def test_programs_that_were_never_to_be_stopped_show_how_they_ended(tmp_path: Path):
    curves: dict[str, tuple[list[float], bool]] = {
        "a": ([0, 1], False),
        "b": ([0, 0], False),
        "c": ([0, 0.5], False),
    }
    trace = record(tmp_path / "t.jsonl", curves, probes=False)
    page = report(tmp_path, [arm(*map(result, curves), trace=trace)])
    assert [label.partition(" over")[0] for label in page.labels if "Certaindex" in label] == [
        "Open to the end: Certaindex of b",
        "Settled at its end: Certaindex of a",
    ]


def test_chains_of_thought_are_drawn_over_their_tokens(tmp_path: Path):
    trace = record(tmp_path / "t.jsonl", {"a": ([0, 0, 1], True)}, probes=True)
    arms = [
        arm(result("a"), algorithm="cot"),
        arm(stopped("a"), policy="probe-consistency", trace=trace, algorithm="cot"),
    ]
    page = report(tmp_path, arms)
    assert "Settled at once: Certaindex of a over tokens of thought" in page.labels


@pytest.mark.parametrize(
    ("shadow", "shown"),
    [pytest.param(["esc", "beta"], True, id="two"), pytest.param([], False, id="none")],
)
def test_what_shadows_would_have_done_is_a_table(shadow: list[str], shown: bool, tmp_path: Path):
    with dg.TraceWriter(tmp_path / "t.jsonl") as trace:
        for name in "ab":
            start = {"event": "program", "settings": {"shadow": shadow}}
            trace.write({**start, "program": name})
        if shadow:
            row = {"policy": "esc", "knob": 2, "tokens": 30, "answer": "5"}
            trace.write({"event": "shadow", "program": "a", **row})
    page = report(tmp_path, [arm(result("a"), result("b"), trace=tmp_path / "t.jsonl")])
    assert ("What other policies would have done" in page.words) is shown
    rows = "fixed esc 1 of 2 0 50.0 % 50.0 % 130 65.0 % ", "fixed beta 0 of 2 0 100.0 % 100.0 % 200"
    assert all((row in page.words) is shown for row in rows)


@pytest.mark.parametrize(
    ("ids", "drawn"),
    [
        pytest.param([f"abacus-s{1 + i % 14}-{i:04}" for i in range(60)], True, id="14-classes"),
        pytest.param(["abacus-s1-0000", "abacus-s9-0001"], False, id="too-few"),
        pytest.param(["abacus-s3-0000", "abacus-s3-0001"], False, id="one-class"),
        pytest.param(["abacus-s1-0000", "abacus-s2-0001", "17"], False, id="one-without-steps"),
        pytest.param(["gsm8k-1", "gsm8k-2"], False, id="other-ids"),
    ],
)
def test_difficulty_is_drawn_where_all_ids_tell_it(ids: list[str], drawn: bool, tmp_path: Path):
    page = report(tmp_path, [arm(*map(result, ids)), arm(*map(stopped, ids), policy="beta")])
    label = "self_consistency: accuracy and net tokens by steps, a line for each policy"
    assert (label in page.labels) is drawn
    assert ("Easy and hard questions" in page.words) is drawn


def test_the_ledger_shows_each_kind_that_was_spent_and_prompts_beside(tmp_path: Path):
    usage = dg.Usage(main=1000, probe=20, probe_prefill=300, probe_cached=4000, prompt=5)
    page = report(tmp_path, [arm(result("a", usage=usage))])
    table = page.words.partition("Mean tokens a question.")[2].partition("A bar is")[0]
    assert table.endswith(
        "policy main probe probe prefill net prompt probe cached "
        "\N{BLACK CIRCLE} fixed 1,000 20 300 1,320 5 4,000 "
    )


@pytest.mark.parametrize(
    ("count", "shown", "says_so"),
    [pytest.param(200, 200, False, id="all"), pytest.param(201, 200, True, id="the-first-200")],
)
def test_the_last_table_has_200_questions_in_the_order_of_their_ids(
    count: int, shown: int, says_so: bool, tmp_path: Path
):
    page = report(tmp_path, [arm(*(result(f"q{i}") for i in reversed(range(1, count + 1))))])
    found = re.findall(r'<th scope="row">q(\d+)</th>', page.html)
    assert found == [str(i) for i in range(1, shown + 1)]
    assert ("These are the first 200 of 201 questions." in page.words) is says_so


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param("{'rule': 'beta', 'confidence': 0.9, 'start': 2, 'more': 1}", id="long"),
        pytest.param("<b>$x$ & \\frac</b> -->", id="markup"),
    ],
)
def test_a_policy_may_be_called_anything(policy: str, tmp_path: Path):
    page = report(tmp_path, [arm(result("a")), arm(stopped("a"), policy=policy)])
    assert policy in page.words
    assert page.tags["b"] == 0


def test_there_may_be_more_policies_than_colours(tmp_path: Path):
    page = report(tmp_path, [arm(result("a"), policy=f"policy {i}") for i in range(12)])
    signs = re.findall(r'var\(--(policy-\d)\)" aria-hidden="true">(\S+)</span>', page.html)
    assert len(set(signs)) == 12


@pytest.mark.parametrize(
    ("about", "warned"),
    [
        pytest.param({"model": "abacus-7m"}, True, id="bundled"),
        pytest.param({"model": "models/abacus-7m"}, True, id="bundled-by-path"),
        pytest.param({"model": "Qwen3-8B"}, False, id="another"),
        pytest.param({}, False, id="nothing-said"),
    ],
)
def test_the_tutorial_model_is_called_one(about: dict[str, str], warned: bool, tmp_path: Path):
    page = report(tmp_path, [arm(result("a"))], about)
    assert ("says nothing about other models" in page.words) is warned
    assert all(f"{name} {value}" in page.words for name, value in about.items())


@pytest.mark.parametrize(
    "arms",
    [
        pytest.param([], id="no-arm"),
        pytest.param([arm()], id="an-arm-without-questions"),
        pytest.param([arm(result("a")), arm(policy="beta")], id="one-of-two"),
    ],
)
def test_a_report_on_nothing_is_refused(arms: list[Arm], tmp_path: Path):
    path = tmp_path / "report.html"
    with pytest.raises(dg.InputError, match="at least one question"):
        write_report(path, arms, [], title="A title", about=ABOUT)
    assert not path.exists()


def test_rows_of_other_arms_are_refused(tmp_path: Path):
    rows = compare([arm(result("a"), policy="beta")])
    with pytest.raises(dg.InputError, match="the rows belong to other arms"):
        write_report(tmp_path / "r.html", [arm(result("a"))], rows, title="A title", about=ABOUT)

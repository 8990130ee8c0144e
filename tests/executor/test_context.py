"""Settings: what a graph is told, by whom, and what is refused."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from langgraph.runtime import Runtime
from pydantic import ValidationError

from dynasor_graph.algorithms import (
    ALGORITHMS,
    ChainOfThought,
    SelfConsistency,
    find_algorithm,
)
from dynasor_graph.budget import Budget
from dynasor_graph.engine import FakeEngine
from dynasor_graph.errors import ConfigError
from dynasor_graph.executor import Context, resolve
from dynasor_graph.policies import AllOf, Beta, Certaindex, Fixed, Lossless
from tests.executor.stage import registered, replies

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("given", "branches"),
    [
        pytest.param(SelfConsistency(branches=3), 3, id="its-own"),
        pytest.param(None, 20, id="none"),
        pytest.param({}, 20, id="an-empty-mapping"),
        pytest.param({"user": "ada"}, 20, id="a-mapping-of-somebody-elses"),
        pytest.param(SimpleNamespace(user="ada"), 20, id="an-object-of-somebody-elses"),
        pytest.param({"dynasor": {"branches": 4}}, 4, id="a-key-with-a-mapping"),
        pytest.param({"dynasor": SelfConsistency(branches=5)}, 5, id="a-key-with-settings"),
        pytest.param(SimpleNamespace(dynasor={"branches": 6}), 6, id="an-attribute-with-a-mapping"),
        pytest.param(
            SimpleNamespace(dynasor=SelfConsistency(branches=7)), 7, id="an-attribute-with-settings"
        ),
    ],
)
def test_settings_are_found_wherever_the_graph_runs(given: Any, branches: int):
    assert resolve(Runtime(context=given), SelfConsistency).branches == branches


def test_a_parent_of_this_library_shares_what_was_set_and_no_default():
    parent = SelfConsistency(budget=Budget(tokens=99), policy="fixed")

    found = resolve(Runtime(context=parent), ChainOfThought)

    assert found.budget.tokens == 99
    assert found.policy == "fixed"
    assert found.sampling.max_tokens == 4096  # its own default, not the parent's 512
    assert found.thinking


def test_a_parents_policy_that_the_child_cannot_use_is_refused_with_a_reason():
    parent = SelfConsistency(policy="beta")

    with pytest.raises(ConfigError, match=r"'beta' looks at votes.*gives confidence, probes"):
        resolve(Runtime(context=parent), ChainOfThought)


def test_a_wrong_value_under_the_parents_key_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"branches: .*got 0"):
        resolve(Runtime(context={"dynasor": {"branches": 0}}), SelfConsistency)


@pytest.mark.parametrize(
    ("kind", "policy"),
    [
        pytest.param(SelfConsistency, "probe-consistency", id="probes-for-votes"),
        pytest.param(SelfConsistency, "mcts-gsm8k", id="rewards-for-votes"),
        pytest.param(SelfConsistency, "beta & probe-consistency", id="a-part-of-a-combination"),
        pytest.param(ChainOfThought, "certaindex", id="votes-for-probes"),
    ],
)
def test_a_policy_that_looks_at_what_the_algorithm_does_not_give_is_refused(
    kind: type[Context], policy: str
):
    with pytest.raises(ValidationError, match="choose another policy"):
        kind(policy=policy)


@pytest.mark.parametrize(
    "kind", [pytest.param(SelfConsistency, id="votes"), pytest.param(ChainOfThought, id="probes")]
)
def test_a_policy_that_looks_at_nothing_fits_every_algorithm(kind: type[Context]):
    assert kind(policy="fixed").rule == Fixed()


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param("beta:confidence=0.9", id="a-name"),
        pytest.param({"rule": "beta", "confidence": 0.9}, id="json"),
        pytest.param(Beta(confidence=0.9), id="a-value"),
    ],
)
def test_a_policy_may_be_a_name_json_or_a_value_and_the_settings_stay_json(policy: Any):
    given = SelfConsistency(policy=policy, budget=Budget(tokens=5))

    again = SelfConsistency.model_validate(json.loads(json.dumps(given.model_dump(mode="json"))))

    assert again.rule == Beta(confidence=0.9)
    assert again == given


def test_a_combined_policy_survives_json():
    given = SelfConsistency(policy=AllOf(policies=(Beta(confidence=0.9), Lossless())))

    again = SelfConsistency.model_validate(json.loads(given.model_dump_json()))

    assert again.rule == AllOf(policies=(Beta(confidence=0.9), Lossless()))


@pytest.mark.parametrize(
    "shadow",
    [
        pytest.param(("beta:confidence=0.9", "certaindex"), id="names"),
        pytest.param(["beta:confidence=0.9", {"rule": "certaindex"}], id="names-and-json"),
        pytest.param((Beta(confidence=0.9), Certaindex()), id="values"),
    ],
)
def test_shadows_are_written_as_a_policy_is_and_stay_json(shadow: Any):
    given = SelfConsistency(shadow=shadow)

    again = SelfConsistency.model_validate(json.loads(json.dumps(given.model_dump(mode="json"))))

    assert again.shadow_rules == (Beta(confidence=0.9), Certaindex())
    assert again == given


@pytest.mark.parametrize(
    ("kind", "shadow", "said"),
    [
        pytest.param(SelfConsistency, ("betta",), "unknown policy 'betta'.*'beta'", id="unknown"),
        pytest.param(SelfConsistency, ("beta:confidence=2",), "confidence: .*got 2", id="range"),
        pytest.param(
            SelfConsistency, ("beta", "cot-mid"), "'probe-consistency' looks at probes", id="probes"
        ),
        pytest.param(ChainOfThought, ("beta",), "'beta' looks at votes", id="votes"),
        pytest.param(SelfConsistency, ("beta", "esc", "beta"), "leave one of them out", id="twice"),
        pytest.param(
            SelfConsistency,
            ("sc-math", "sc-gsm8k"),
            "'sc-gsm8k' is the same policy as 'sc-math'",
            id="twice-by-two-names",
        ),
        pytest.param(SelfConsistency, "beta", "valid tuple", id="no-list"),
        pytest.param(SelfConsistency, (7,), "write a name, a preset or a JSON object", id="number"),
    ],
)
def test_shadows_that_cannot_be_asked_are_refused(kind: type[Context], shadow: Any, said: str):
    with pytest.raises(ValidationError, match=said):
        kind(shadow=shadow)


@pytest.mark.parametrize(
    ("settings", "reads"),
    [
        pytest.param({"policy": "fixed"}, set(), id="nothing"),
        pytest.param({"policy": "fixed", "shadow": ("cot-mid",)}, {"probes"}, id="a-shadow"),
        pytest.param(
            {"policy": "cot-mid", "shadow": ("fixed", "deer")},
            {"probes", "confidence"},
            id="policy-and-shadow",
        ),
    ],
)
def test_settings_read_what_the_policy_and_its_shadows_read(
    settings: dict[str, Any], reads: set[str]
):
    assert ChainOfThought(**settings).reads() == reads


@pytest.mark.parametrize(
    "context",
    [
        pytest.param({"branches": 3, "policy": "fixed"}, id="names"),
        pytest.param({"branches": 3, "policy": {"rule": "fixed"}}, id="json"),
    ],
)
async def test_a_graph_takes_its_context_as_a_plain_dict(context: dict[str, Any]):
    engine = FakeEngine(replies(["7"]))
    with registered(engine) as name:
        graph = find_algorithm("self_consistency").compile()
        state = await graph.ainvoke({"question": "q"}, context={"engine": name, **context})

    assert (state["answer"], len(engine.requests)) == ("7", 3)


async def test_a_graph_without_an_engine_says_how_to_register_one():
    graph = find_algorithm("self_consistency").compile()

    with pytest.raises(ConfigError, match=r"no engine is registered as 'nowhere'.*register"):
        await graph.ainvoke({"question": "q"}, context={"engine": "nowhere"})


def test_settings_can_be_shown_as_a_form():
    """LangGraph Studio draws the form of a graph's context from this schema."""
    for algorithm in ALGORITHMS.values():
        schema = algorithm.compile().get_context_jsonschema()
        assert schema is not None
        assert set(schema["properties"]) == set(algorithm.settings.model_fields)

"""The tree of exceptions: it is what its module draws, and each says what to do."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from dynasor_graph import errors
from dynasor_graph.errors import (
    ConfigError,
    DynasorError,
    EngineError,
    InputError,
    NotInstalled,
    PromptTooLong,
    UnknownName,
    explain,
)


def drawn() -> dict[str, str | None]:
    """Class -> its parent, as the docstring of the module draws them."""
    picture = re.search(r"```\n(.*?)```", errors.__doc__ or "", re.DOTALL)
    assert picture is not None
    tree: dict[str, str | None] = {}
    above: list[str] = []
    for line in picture[1].splitlines():
        name = re.search(r"\w+", line)
        assert name is not None, line
        depth = name.start() // 4
        above[depth:] = [name[0]]
        tree[name[0]] = above[depth - 1] if depth else None
    return tree


def real() -> dict[str, str | None]:
    """Class -> its parent in this library, as Python knows them."""
    classes = inspect.getmembers(errors, lambda x: inspect.isclass(x) and issubclass(x, Exception))
    return {
        name: next((b.__name__ for b in cls.__bases__ if issubclass(b, DynasorError)), None)
        for name, cls in classes
    }


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes():
    assert drawn() == real()


def test_every_exception_is_exported():
    assert {*real(), "explain"} == set(errors.__all__)


@pytest.mark.parametrize("error", [ConfigError, InputError])
def test_what_the_caller_got_wrong_is_also_a_value_error(error: type[DynasorError]):
    assert issubclass(error, ValueError)


def test_what_the_engine_got_wrong_is_no_value_error():
    assert not issubclass(EngineError, ValueError)


@pytest.mark.parametrize(
    ("asked", "suggested"),
    [
        pytest.param("bata", "beta", id="one-letter"),
        pytest.param("self_consistancy", "self_consistency", id="long-name"),
        pytest.param("Beta", "beta", id="case"),
    ],
)
def test_an_unknown_name_suggests_the_nearest(asked: str, suggested: str):
    error = UnknownName("policy", asked, ["self_consistency", "lossless", "beta"])
    assert f"unknown policy {asked!r}: did you mean {suggested!r}?" in str(error)


def test_an_unknown_name_like_none_of_them_lists_them_all_in_order():
    error = UnknownName("engine", "zzz", iter(["vllm", "fake", "openai"]))
    assert str(error) == "unknown engine 'zzz': there are: fake, openai, vllm"
    assert (error.kind, error.name, error.choices) == ("engine", "zzz", ["fake", "openai", "vllm"])


def test_not_installed_says_what_to_install():
    error = NotInstalled("vLLM", "gpu")
    assert str(error) == "vLLM is not installed: pip install 'dynasor-graph[gpu]'"
    assert isinstance(error, ConfigError)


def test_a_prompt_that_is_too_long_says_both_lengths_and_the_cure():
    error = PromptTooLong(900, 512)
    assert "900 tokens" in str(error)
    assert "512" in str(error)
    assert "shorten the question" in str(error)
    assert (error.tokens, error.context) == (900, 512)


class Window(BaseModel):
    model_config = ConfigDict(extra="forbid")

    size: int = Field(1, ge=1)


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    share: float = Field(0.5, ge=0, le=1)
    window: Window = Window()
    name: str

    @field_validator("name")
    @classmethod
    def _named(cls, name: str) -> str:
        if not name:
            raise ValueError("a name must not be empty: leave it out")
        return name


@pytest.mark.parametrize(
    ("given", "said"),
    [
        pytest.param(
            {"name": "n", "share": 1.5},
            ["share: Input should be less than or equal to 1, got 1.5"],
            id="out-of-range",
        ),
        pytest.param(
            {"name": "n", "window": {"size": 0}},
            ["window.size: Input should be greater than or equal to 1, got 0"],
            id="nested",
        ),
        pytest.param({"name": "n", "shore": 1}, ["shore: Extra inputs", "got 1"], id="no-such"),
        pytest.param({}, ["name: Field required"], id="missing"),
        pytest.param(
            {"name": ""}, ["name: a name must not be empty: leave it out"], id="own-validator"
        ),
        pytest.param({"share": -1, "name": "n", "x": 0}, ["share: ", "; x: "], id="two-at-once"),
    ],
)
def test_explain_names_each_field_its_value_and_what_is_allowed(
    given: dict[str, Any], said: list[str]
):
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate(given)
    error = explain(caught.value, "settings")
    assert isinstance(error, ConfigError)
    assert str(error).startswith("settings: ")
    assert "\n" not in str(error)
    assert "Value error" not in str(error)
    for part in said:
        assert part in str(error)


def test_explain_does_not_repeat_all_input_where_a_field_is_missing():
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({})
    assert str(explain(caught.value)) == "name: Field required"

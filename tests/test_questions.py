"""Questions: a file is read line by line, and a broken line does not stop the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dynasor_graph.errors import InputError
from dynasor_graph.questions import Question, read_questions
from dynasor_graph.types import Message


def written(tmp_path: Path, *rows: object, encoding: str = "utf-8") -> Path:
    """A file with these lines; what is no text is written as JSON."""
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path = tmp_path / "questions.jsonl"
    path.write_bytes("".join(line + "\n" for line in lines).encode(encoding))
    return path


@pytest.mark.parametrize(
    ("row", "question"),
    [
        pytest.param(
            {"id": "a", "question": "1+1?", "answer": "2"},
            Question(id="a", text="1+1?", gold="2"),
            id="all-fields",
        ),
        pytest.param({"question": "1+1?"}, Question(id="1", text="1+1?"), id="number-of-the-line"),
        pytest.param({"id": None, "question": "q"}, Question(id="1", text="q"), id="id-null"),
        pytest.param({"id": 0, "question": "q"}, Question(id="0", text="q"), id="id-0"),
        pytest.param({"prompt": "q", "gold": 4}, Question(id="1", text="q", gold="4"), id="prompt"),
        pytest.param(
            {"problem": "q", "target": 0}, Question(id="1", text="q", gold="0"), id="problem"
        ),
        pytest.param({"question": "q", "answer": None}, Question(id="1", text="q"), id="no-gold"),
        pytest.param(
            {"prompt": "second", "question": "first"},
            Question(id="1", text="first"),
            id="question-goes-before-prompt",
        ),
        pytest.param(
            {"question": "q", "level": 5},
            Question(id="1", text="q", fields={"level": 5}),
            id="other-fields",
        ),
        pytest.param(
            {"question": "a\u2028b\x85c"}, Question(id="1", text="a\u2028b\x85c"), id="separators"
        ),
    ],
)
def test_a_question_may_be_written_in_many_ways(
    tmp_path: Path, row: dict[str, Any], question: Question
):
    assert read_questions(written(tmp_path, row)) == ([question], [])


def test_questions_keep_their_order_and_blank_lines_are_passed_over(tmp_path: Path):
    path = written(tmp_path, {"question": "b"}, "", {"question": "a"}, "   ", {"question": "c"})
    questions, broken = read_questions(str(path))
    assert [(q.id, q.text) for q in questions] == [("1", "b"), ("3", "a"), ("5", "c")]
    assert broken == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        pytest.param('{"question": ', "not JSON: .* at column", id="torn"),
        pytest.param("what is 1+1?", "not JSON", id="plain-text"),
        pytest.param("[1, 2]", "not a JSON object, but list", id="list"),
        pytest.param("5", "not a JSON object, but int", id="number"),
        pytest.param('{"text": "q"}', "no field 'question' .*; it has text", id="no-question"),
        pytest.param("{}", "no field 'question' .*; it has none", id="nothing-in-it"),
        pytest.param('{"question": 5}', "no field 'question' with a text", id="no-text"),
        pytest.param('{"question": "  "}', "question '2' is empty", id="blank"),
        pytest.param('{"id": "x", "question": ""}', "question 'x' is empty", id="empty"),
        pytest.param('{"id": "1", "question": "q"}', "the id '1' was used before", id="twice"),
    ],
)
def test_a_broken_line_is_reported_with_its_number_and_the_rest_is_kept(
    tmp_path: Path, line: str, said: str
):
    path = written(tmp_path, {"question": "first"}, line, {"question": "third"})
    questions, broken = read_questions(path)
    assert [q.text for q in questions] == ["first", "third"]
    (message,) = broken
    assert message.startswith(f"{path}:2: ")
    assert pytest.RaisesExc(InputError, match=said).matches(InputError(message))


def test_a_line_that_is_not_utf_8_is_reported_like_any_other(tmp_path: Path):
    path = tmp_path / "questions.jsonl"
    path.write_bytes(b'{"question": "first"}\n{"question": "caf\xe9"}\n{"question": "third"}\n')
    questions, broken = read_questions(path)
    assert [q.text for q in questions] == ["first", "third"]
    assert broken == [f"{path}:2: not UTF-8 at byte 18"]


def test_a_byte_order_mark_is_no_part_of_the_first_question(tmp_path: Path):
    path = written(tmp_path, {"id": "a", "question": "é?"}, encoding="utf-8-sig")
    assert read_questions(path) == ([Question(id="a", text="é?")], [])


def test_windows_line_ends_and_a_missing_last_one_do_not_matter(tmp_path: Path):
    path = tmp_path / "questions.jsonl"
    path.write_bytes(b'{"question": "a"}\r\n{"question": "b"}')
    questions, broken = read_questions(path)
    assert [(q.id, q.text) for q in questions] == [("1", "a"), ("2", "b")]
    assert broken == []


def test_of_two_questions_with_one_id_the_first_is_kept(tmp_path: Path):
    rows = [{"id": "x", "question": "first"}, {"id": "x", "question": "second"}]
    questions, broken = read_questions(written(tmp_path, *rows))
    assert [q.text for q in questions] == ["first"]
    assert len(broken) == 1


def test_a_missing_file_is_an_input_error(tmp_path: Path):
    with pytest.raises(InputError, match=r"gone\.jsonl: no such file"):
        read_questions(tmp_path / "gone.jsonl")


def test_a_folder_is_no_file(tmp_path: Path):
    with pytest.raises(InputError, match="no such file"):
        read_questions(tmp_path)


@pytest.mark.parametrize("lines", [(), ("",), ("  ", "")], ids=["empty", "line", "blanks"])
def test_a_file_without_a_line_has_no_question_in_it(tmp_path: Path, lines: tuple[str, ...]):
    with pytest.raises(InputError, match="no question in it"):
        read_questions(written(tmp_path, *lines))


def test_a_file_of_broken_lines_shows_the_first_three(tmp_path: Path):
    path = written(tmp_path, "a", "b", "c", "d")
    with pytest.raises(InputError, match="no question in it") as caught:
        read_questions(path)
    assert [f"{path}:{n}:" in str(caught.value) for n in (1, 2, 3, 4)] == [True, True, True, False]


def test_a_question_of_your_own_may_not_be_empty_either():
    with pytest.raises(InputError, match="question 'q7' is empty"):
        Question(id="q7", text="\n ")


def test_a_conversation_asks_what_its_user_said_last() -> None:
    chat: list[Message] = [
        {"role": "user", "content": "6 * 7?"},
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "times"}}]},
        {"role": "tool", "content": "42"},
    ]
    question = Question.of(chat, name="q", gold="42")
    assert (question.id, question.text, question.gold) == ("q", "6 * 7?", "42")
    assert question.chat == tuple(chat)


def test_a_conversation_in_which_nobody_asks_is_refused() -> None:
    with pytest.raises(InputError, match="'q' is empty"):
        Question.of([{"role": "system", "content": "Be brief."}], name="q")

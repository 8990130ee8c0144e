"""Conversation: what was said in a terminal chat, and what its /commands change."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynasor_graph.errors import ConfigError, InputError, UnknownName

if TYPE_CHECKING:
    from dynasor_graph.executor import Context
    from dynasor_graph.questions import Question
    from dynasor_graph.types import Message

__all__ = ["COMMANDS", "Conversation"]

COMMANDS = {
    "help": "what there is to type",
    "algorithm": "how to reason: /algorithm cot; alone, which it is now",
    "policy": "when to stop: /policy beta; alone, which it is now",
    "set": "any setting of the algorithm: /set branches=40",
    "clear": "forget what was said",
    "save": "write what was said to a new file: /save chat.json",
    "quit": "end; so does Ctrl-D",
}


@dataclass(slots=True)
class Conversation:
    """The messages so far, and how the next one is answered.

    Attributes:
        algorithm: Its name.
        settings: Of the algorithm.
        judged: Whether a reward is open, which some algorithms need.
        messages: What was said.
        over: Whether it has ended.
    """

    algorithm: str
    settings: dict[str, Any]
    judged: bool = False
    messages: list[Message] = field(default_factory=list)
    over: bool = False

    def __post_init__(self) -> None:
        self.context()

    def context(self) -> Context:
        """The settings as the algorithm reads them.

        Raises:
            ConfigError: One of them is wrong.
        """
        from dynasor_graph.runner import configure

        return configure(self.algorithm, **self.settings)

    def ask(self, text: str, name: str) -> Question:
        """The question that a text asks after all that was said."""
        from dynasor_graph.questions import Question
        from dynasor_graph.types import Message

        return Question.of([*self.messages, Message(role="user", content=text)], name=name)

    def remember(self, text: str, reply: str) -> None:
        """Keep a question and its reply."""
        from dynasor_graph.types import Message

        self.messages.append(Message(role="user", content=text))
        self.messages.append(Message(role="assistant", content=reply))

    def command(self, line: str) -> str:
        """Do what a line that begins with a slash says; what to print.

        Raises:
            ConfigError: There is no such command, or what it says is wrong; nothing has changed then.
            InputError: The file cannot be written.
        """
        name, _, rest = line.removeprefix("/").partition(" ")
        name, rest = name.strip(), rest.strip()
        match name:
            case "help":
                rows = [f"/{name:<10} {about}" for name, about in COMMANDS.items()]
                return "\n".join([*rows, "while it thinks: s or Ctrl-C takes the best answer now"])
            case "algorithm":
                return self._switch(rest)
            case "policy":
                if rest:
                    self._change(self.algorithm, {**self.settings, "policy": rest})
                return f"policy: {self.context().policy}"
            case "set":
                return self._set(rest)
            case "clear":
                self.messages.clear()
                return "forgotten"
            case "save":
                return self._save(rest)
            case "quit":
                self.over = True
                return ""
            case _:
                raise UnknownName("command", name, COMMANDS)

    def _switch(self, name: str) -> str:
        """Take another algorithm, and of the settings those that it has, too."""
        from dynasor_graph.algorithms import find_algorithm

        if not name:
            return f"algorithm: {self.algorithm}"
        known = find_algorithm(name).settings.model_fields
        kept = {key: value for key, value in self.settings.items() if key in known}
        without = {key: value for key, value in kept.items() if key != "policy"}
        before = self.settings
        try:
            self._change(name, kept)
        except ConfigError:
            if kept == without:
                raise
            self._change(name, without)  # a policy that looks at what this algorithm does not have
        left = ", ".join(key for key in before if key not in self.settings)
        return f"algorithm: {name}" + (
            f"; left out, because it has no use for it: {left}" if left else ""
        )

    def _set(self, pair: str) -> str:
        from dynasor_graph.cli.options import settings_with

        self._change(self.algorithm, settings_with(self.settings, [pair]))
        return f"set: {pair}"

    def _change(self, algorithm: str, settings: dict[str, Any]) -> None:
        """Take on new values, unless they do not go together."""
        from dynasor_graph.cli.options import is_judged

        if is_judged([algorithm]) and not self.judged:
            raise ConfigError(
                f"algorithm {algorithm!r} needs a reward, and none is open: "
                f"start again with --algorithm {algorithm}"
            )
        Conversation(algorithm, settings)
        self.algorithm, self.settings = algorithm, settings

    def _save(self, file: str) -> str:
        if not file:
            raise ConfigError("/save needs the name of a file: /save chat.json")
        row = {"algorithm": self.algorithm, "settings": self.settings, "messages": self.messages}
        path = Path(file).expanduser()
        try:
            with path.open("x", encoding="utf-8") as opened:
                json.dump(row, opened, ensure_ascii=False, indent=2)
        except FileExistsError:
            raise InputError(f"{path} is there already: name another file") from None
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error.strerror}") from None
        return f"saved: {path}"

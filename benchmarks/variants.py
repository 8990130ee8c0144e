"""Variants: small tasks with their solutions, and mutants of these, right and wrong.

Right variants do the same in other words; wrong ones have a mistake or two of the kinds that people
make: another comparison, a number off by one, another operator, a swapped order, a line left out.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Callable
from typing import Any, Final

__all__ = ["TASKS", "arguments", "mutant"]


def _words(draw: random.Random) -> str:
    return " ".join(
        "".join(draw.choices("abc", k=draw.randint(1, 4))) for _ in range(draw.randint(1, 6))
    )


def _numbers(draw: random.Random) -> list[int]:
    return [draw.randint(-9, 9) for _ in range(draw.randint(1, 8))]


def _positive(draw: random.Random) -> int:
    return draw.randint(1, 60)


Draw = Callable[[random.Random], list[Any]]

TASKS: Final[dict[str, tuple[Draw, str]]] = {
    "second largest": (
        lambda draw: [_numbers(draw)],
        """
def f(xs):
    best = second = None
    for x in xs:
        if best is None or x > best:
            second = best
            best = x
        elif x < best and (second is None or x > second):
            second = x
    return second
""",
    ),
    "longest run": (
        lambda draw: ["".join(draw.choices("ab", k=draw.randint(1, 12)))],
        """
def f(text):
    best, run = 0, 0
    for at in range(len(text)):
        if at > 0 and text[at] == text[at - 1]:
            run = run + 1
        else:
            run = 1
        best = max(best, run)
    return best
""",
    ),
    "greatest common divisor": (
        lambda draw: [_positive(draw), _positive(draw)],
        """
def f(a, b):
    while b != 0:
        a, b = b, a % b
    return a
""",
    ),
    "is a palindrome": (
        lambda draw: [draw.choice(["abcba", "abba", "a", "ab", "abcab", "aab", "xyzyx", "abcda"])],
        """
def f(text):
    left, right = 0, len(text) - 1
    while left < right:
        if text[left] != text[right]:
            return False
        left = left + 1
        right = right - 1
    return True
""",
    ),
    "digits": (
        lambda draw: [draw.randint(0, 99_999)],
        """
def f(n):
    total = 0
    while n > 0:
        total = total + n % 10
        n = n // 10
    return total
""",
    ),
    "largest sum of neighbours": (
        lambda draw: [_numbers(draw)],
        """
def f(xs):
    best = here = xs[0]
    for x in xs[1:]:
        here = max(x, here + x)
        best = max(best, here)
    return best
""",
    ),
    "primes below": (
        lambda draw: [_positive(draw)],
        """
def f(n):
    found = []
    for number in range(2, n):
        prime = True
        for other in range(2, number):
            if number % other == 0:
                prime = False
        if prime:
            found.append(number)
    return found
""",
    ),
    "place to insert": (
        lambda draw: [sorted(_numbers(draw)), draw.randint(-9, 9)],
        """
def f(xs, x):
    low, high = 0, len(xs)
    while low < high:
        middle = (low + high) // 2
        if xs[middle] < x:
            low = middle + 1
        else:
            high = middle
    return low
""",
    ),
    "words by length": (
        lambda draw: [_words(draw)],
        """
def f(text):
    counts = {}
    for word in text.split():
        size = len(word)
        counts[size] = counts.get(size, 0) + 1
    return counts
""",
    ),
    "ways to climb": (
        lambda draw: [draw.randint(0, 20)],
        """
def f(n):
    a, b = 1, 1
    for step in range(1, n):
        a, b = b, a + b
    return b
""",
    ),
    "brackets": (
        lambda draw: ["".join(draw.choices("()", k=draw.choice([2, 4, 4, 6])))],
        """
def f(text):
    depth = 0
    for sign in text:
        if sign == "(":
            depth = depth + 1
        else:
            depth = depth - 1
        if depth < 0:
            return False
    return depth == 0
""",
    ),
    "merge": (
        lambda draw: [sorted(_numbers(draw)), sorted(_numbers(draw))],
        """
def f(xs, ys):
    merged, i, j = [], 0, 0
    while i < len(xs) and j < len(ys):
        if xs[i] <= ys[j]:
            merged.append(xs[i])
            i = i + 1
        else:
            merged.append(ys[j])
            j = j + 1
    return merged + xs[i:] + ys[j:]
""",
    ),
    "best profit": (
        lambda draw: [[draw.randint(1, 20) for _ in range(draw.randint(1, 8))]],
        """
def f(prices):
    lowest, best = prices[0], 0
    for price in prices:
        lowest = min(lowest, price)
        best = max(best, price - lowest)
    return best
""",
    ),
    "squeeze": (
        lambda draw: ["".join(draw.choices("aab", k=draw.randint(1, 9)))],
        """
def f(text):
    out, at = "", 0
    while at < len(text):
        run = 1
        while at + run < len(text) and text[at + run] == text[at]:
            run = run + 1
        out = out + text[at] + str(run)
        at = at + run
    return out
""",
    ),
}
"""What is asked: how arguments are drawn, and a right function `f`."""


def arguments(task: str, count: int, draw: random.Random) -> list[list[Any]]:
    """Different lists of arguments for a task."""
    found: list[list[Any]] = []
    for _ in range(50 * count):
        one = TASKS[task][0](draw)
        if one not in found:
            found.append(one)
        if len(found) == count:
            break
    return found


def mutant(task: str, mistakes: int, draw: random.Random) -> str:
    """The solution with other names, and with so many changes that may be mistakes."""
    tree = ast.parse(TASKS[task][1])
    for _ in range(mistakes):
        if places := [node for node in ast.walk(tree) if _can_change(node)]:
            _change(draw.choice(places), draw)
    return ast.unparse(_Renamed(draw).visit(tree))


_COMPARED: Final[list[type[ast.cmpop]]] = [ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq]
_COMPUTED: Final[list[type[ast.operator]]] = [ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.Mod]


def _can_change(node: ast.AST) -> bool:
    match node:
        case ast.Compare(ops=[op]):
            return type(op) in _COMPARED
        case ast.BinOp(op=op):
            return type(op) in _COMPUTED
        case ast.Constant(value=value):
            return isinstance(value, int)
        case ast.Call(func=ast.Name(id=name)):
            return name in ("min", "max")
        case ast.BoolOp() | ast.Tuple(elts=[_, _]):
            return True
        case ast.For(body=body) | ast.While(body=body) | ast.If(body=body):
            return len(body) > 1
    return False


def _change(node: ast.AST, draw: random.Random) -> None:
    match node:
        case ast.Compare():
            node.ops = [draw.choice([op for op in _COMPARED if not isinstance(node.ops[0], op)])()]
        case ast.BinOp():
            node.op = draw.choice([op for op in _COMPUTED if not isinstance(node.op, op)])()
        case ast.Constant(value=bool(value)):
            node.value = not value
        case ast.Constant(value=int(value)):
            node.value = value + draw.choice([1, -1])
        case ast.Call(func=ast.Name() as name):
            name.id = "max" if name.id == "min" else "min"
        case ast.BoolOp():
            node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        case ast.Tuple():
            node.elts.reverse()
        case ast.For(body=body) | ast.While(body=body) | ast.If(body=body):
            del body[draw.randrange(len(body))]


class _Renamed(ast.NodeTransformer):
    """Variables under other names, so that no two programs are the same text."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self._names: dict[str, str] = {}

    def _name(self, name: str) -> str:
        return self._names.setdefault(name, f"{name}_{self._draw.randrange(10_000)}")

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        for argument in node.args.args:
            argument.arg = self._name(argument.arg)
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if isinstance(node.ctx, ast.Store) or node.id in self._names:
            node.id = self._name(node.id)
        return node

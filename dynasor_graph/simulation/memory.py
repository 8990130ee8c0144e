"""Memory: the KV cache of a machine: who holds how much of it, and what is found there again."""

from __future__ import annotations

from dynasor_graph.simulation.blocks import Blocks
from dynasor_graph.simulation.decoding import Decoding
from dynasor_graph.simulation.job import Job
from dynasor_graph.simulation.speed import Speed

__all__ = ["Memory"]


class Memory:
    """The room that running jobs take, and the prefix cache over it.

    A job takes the room for its whole prompt when it begins, and a block more whenever it has
    filled one. Its whole blocks can be found by others as soon as the step that fills them is
    planned, as in vLLM.

    Args:
        speed: How much there is.

    Attributes:
        total: Blocks that there are.
        decoding: The jobs that are past their prompts.
    """

    def __init__(self, speed: Speed) -> None:
        self.total = speed.blocks
        self.decoding = Decoding(speed.block)
        self._block = speed.block
        self._blocks = Blocks(speed.blocks)
        self._prompts = 0  # blocks of jobs that still compute their prompts
        self._programs: dict[str, dict[Job, None]] = {}

    def used(self, step: int) -> int:
        """Blocks that a step needs."""
        return self._prompts + self.decoding.blocks(step) - self._blocks.shared

    def steps(self, step: int, most: int) -> int:
        """For how many steps from this one on there is room, at most `most`."""
        room = self.total + self._blocks.shared - self._prompts
        return self.decoding.steps(step, most, room)

    def make_room(self, step: int) -> None:
        """Drop from the prefix cache what is in the way of a step."""
        self._blocks.make_room(self.used(step))

    def found(self, job: Job, step: int) -> int:
        """How many tokens of a job that would begin are there; the last one has to be computed."""
        for other in self._programs.get(job.program, ()):
            if other.place == "decode":
                self.offer(other, _held(other, step))
        whole = min(job.known(job.length), job.length - 1) // self._block
        return self._block * self._blocks.found(job.key(i, self._block) for i in range(whole))

    def take(self, job: Job, found: int, step: int) -> bool:
        """Give a job the room for its prompt, of which so many tokens were found, if there is."""
        hits = found // self._block
        need, keys = self._whole(job), job.keys[:hits]
        if self.used(step) + need - hits + self._blocks.idle(keys) > self.total:
            return False
        self._blocks.take(keys)
        self._prompts += need
        job.held, job.offered, job.computed = keys, hits, found
        if job.program:
            self._programs.setdefault(job.program, {})[job] = None
        self.make_room(step)
        return True

    def offer(self, job: Job, tokens: int) -> None:
        """Let others find the whole blocks of a job's first tokens."""
        whole = job.known(tokens) // self._block
        while job.offered < whole:
            key = job.key(job.offered, self._block)
            if self._blocks.add(key):
                job.held.append(key)
            job.offered += 1

    def decode(self, job: Job) -> None:
        """From now on a job grows by a token a step."""
        self._prompts -= self._whole(job)
        self.decoding.add(len(job.prompt) - job.offset)

    def leave(self, job: Job, step: int) -> None:
        """Take all room from a running job; what it has filled is kept for others."""
        if job.place == "prefill":
            self._prompts -= self._whole(job)
        else:
            self.offer(job, _held(job, step))
            self.decoding.remove(len(job.prompt) - job.offset)
        if job.program:
            others = self._programs[job.program]
            del others[job]
            if not others:
                del self._programs[job.program]
        self._blocks.release(job.held)
        job.held, job.offered, job.computed = [], 0, 0

    def _whole(self, job: Job) -> int:
        return -(-job.length // self._block)


def _held(job: Job, step: int) -> int:
    """Tokens of a decoding job: all but its newest, which is computed in the step."""
    return len(job.prompt) + step - job.offset - 1

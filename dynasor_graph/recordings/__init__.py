"""Recordings: many samples of many questions in one compact file, to replay policies on."""

from dynasor_graph.recordings.recorded import Probed, Recorded, Sample, write_recording
from dynasor_graph.recordings.synthetic import synthetic
from dynasor_graph.recordings.traces import from_trace, read_recording, spelled_equally

__all__ = [
    "Probed",
    "Recorded",
    "Sample",
    "from_trace",
    "read_recording",
    "spelled_equally",
    "synthetic",
    "write_recording",
]

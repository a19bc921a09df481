"""TensorBoard: ``tensorboard --logdir FOLDER`` shows the curves of all jobs below a folder."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from nas.logs import Job

__all__ = ["opened"]


class _TensorBoard:
    known_as = ""

    def __init__(self, folder: Path, start: int) -> None:
        # Its own writer, and not torch's: a search may need no torch.
        from tensorboard.compat.proto import event_pb2
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._event = event_pb2.Event
        self._writer = EventFileWriter(str(folder))
        if start:
            # Steps from here on replace those that a killed session had written.
            again = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._writer.add_event(
                event_pb2.Event(wall_time=time.time(), step=start, session_log=again)
            )

    def values(self, step: int, values: Mapping[str, float]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._writer.add_event(
            self._event(wall_time=time.time(), step=step, summary=Summary(value=scalars))
        )
        self._writer.flush()

    def files(self, paths: Sequence[Path]) -> None:
        """It shows none."""

    def close(self, *, finished: bool) -> None:
        self._writer.close()


def opened(job: Job) -> _TensorBoard:
    """Into ``FOLDER/tensorboard``."""
    return _TensorBoard(job.folder / "tensorboard", job.start)

"""A run's output on its way to its submitter: pieces by offset, idempotent, capped."""

from deai.errors import BadField
from deai.job import Address, JobId
from deai.wire import LogChunk
from deai_market import queries
from deai_market.database import Database
from deai_market.errors import Conflict, TooLarge
from deai_market.tables import LogRow

MAX_PIECE_BYTES = 1 << 20
"""The most that one request carries, either way."""
_PIECES = 64


class Logs:
    """The logs of all runs, each of a job and its provider; at most `cap` bytes of each."""

    def __init__(self, database: Database, cap: int) -> None:
        self._database, self._cap = database, cap

    def append(self, job: JobId, provider: Address, chunk: LogChunk) -> int:
        """Keeps what is new of the chunk, durably; how many bytes are kept now. The same chunk again changes nothing.

        Raises Conflict for a chunk that leaves a gap or follows the end, TooLarge beyond the cap.
        """
        if len(chunk.data) > MAX_PIECE_BYTES:
            raise BadField("data", f"{len(chunk.data)} bytes", f"a chunk has at most {MAX_PIECE_BYTES} bytes")
        with self._database.write() as session:
            newest = queries.log_end(session, job, provider)
            size = newest.last if newest else 0
            if chunk.offset > size:
                raise Conflict(
                    f"offset: {chunk.offset}: {size} bytes are here, so that is where the next chunk starts"
                )
            fresh = chunk.data[size - chunk.offset :]
            ended = newest is not None and newest.end
            if ended and fresh:
                raise Conflict(f"offset: {chunk.offset}: the log ended at {size}")
            if size + len(fresh) > self._cap:
                raise TooLarge(f"data: the log has {size} bytes; at most {self._cap} are kept")
            if fresh or (chunk.end and not ended):
                last = size + len(fresh)
                session.add(
                    LogRow(job=job, provider=provider, first=size, last=last, data=fresh, end=chunk.end)
                )
            return size + len(fresh)

    def read(self, job: JobId, provider: Address | None, offset: int, *, over: bool) -> LogChunk:
        """What is there from `offset` on, up to a piece. `over`: nothing more is to come, ended or not."""
        data, end = b"", over
        if provider is not None:
            with self._database.read() as session:
                rows = queries.log_from(session, job, provider, offset, _PIECES)
            for row in rows:
                data += row.data[max(0, offset - row.first) :]
                if len(data) > MAX_PIECE_BYTES:
                    break
            whole = len(rows) < _PIECES and len(data) <= MAX_PIECE_BYTES
            end = whole and (over or any(row.end for row in rows))
        return LogChunk(offset=offset, data=data[:MAX_PIECE_BYTES], end=end)

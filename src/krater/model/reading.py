"""What a container uses."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of a container. `cpu_percent` is of one core since the reading before; bytes are since its start."""

    cpu_percent: float
    memory_used: int
    memory_limit: int
    block_read: int
    block_written: int
    net_received: int
    net_sent: int

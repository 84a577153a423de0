"""What the server counts, for `GET /metrics`. No names of notes, devices or vaults."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_CHANGES = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500)


class Metrics:
    """The counters of one server; each has a registry of its own, so that several can run in a process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.connections = Gauge("tidenote_connections", "Open sync connections", registry=self.registry)
        self.pushes = Counter("tidenote_pushes", "Pushes with changes, by way", ["way"], registry=self.registry)
        self.accepted = Counter("tidenote_changes_accepted", "Changes that are durable", registry=self.registry)
        self.rejected = Counter("tidenote_changes_rejected", "Changes refused", ["code"], registry=self.registry)
        self.errors = Counter(
            "tidenote_errors", "Connections and requests that failed", ["code"], registry=self.registry
        )
        self.cut = Counter(
            "tidenote_cut", "Connections that a limit ended without a word", ["reason"], registry=self.registry
        )
        self.commit_seconds = Histogram(
            "tidenote_commit_seconds", "How long a commit took", buckets=_SECONDS, registry=self.registry
        )
        self.batch_changes = Histogram(
            "tidenote_batch_changes", "Changes taken in by one commit", buckets=_CHANGES, registry=self.registry
        )
        self.backup_time = Gauge(
            "tidenote_backup_time_seconds", "When the last scheduled backup was begun", registry=self.registry
        )
        self.holds = Gauge(
            "tidenote_holds", "Devices that hold something until a person decides", registry=self.registry
        )
        self.fenced = Gauge(
            "tidenote_vaults_fenced", "Vaults that gave way to a later copy elsewhere", registry=self.registry
        )
        self.csp_reports = Counter(
            "tidenote_csp_reports", "What the web app's content security policy forbade", registry=self.registry
        )
        self.slowed = Counter("tidenote_slowed", "Pauses of devices that sent too many changes", registry=self.registry)
        self.queue = Gauge("tidenote_queue", "Pushes that wait for a commit", registry=self.registry)

    def render(self) -> bytes:
        """Return everything in the text format of Prometheus."""
        return generate_latest(self.registry)

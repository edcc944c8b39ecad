"""A real Apache Kafka for tests and for a person: KRaft, one node or several, no Docker.

    python -m tests.kafka.broker [--port 9092] [--data DIR]

The jars come from Maven Central by the pom beside this file, once; they stay in the user's cache.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import filelock

POM = Path(__file__).with_name("pom.xml")
_STARTS_WITHIN = 60
"""Seconds; two or three are usual."""


class CannotFetchError(Exception):
    """There is no Java, no Maven, or the jars cannot be fetched."""


def jars() -> Path:
    """The folder with the broker's jars; fetched now if they are not there yet.

    Raises:
        CannotFetchError: they cannot be had; says why.
    """
    return fetched(POM, "kafka_2.13", "kafka")


def fetched(pom: Path, artifact: str, name: str) -> Path:
    """The folder with the jars of a pom, in the cache as `name` and the version of an artifact.

    Raises:
        CannotFetchError: they cannot be had; says why.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "headrace"
    version = pom.read_text(encoding="utf-8").split(artifact)[1].split("<version>")[1]
    folder = cache / f"{name}-{version.split('<')[0]}"
    if shutil.which("java") is None:
        raise CannotFetchError("there is no `java`; install a Java 17 runtime")
    cache.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(cache / f"{name}.lock"):
        if not folder.is_dir():
            _fetch(folder, pom)
    return folder


def _fetch(folder: Path, pom: Path) -> None:
    if shutil.which("mvn") is None:
        raise CannotFetchError("there is no `mvn` to fetch Kafka's jars; install Maven")
    with tempfile.TemporaryDirectory(dir=folder.parent) as fresh:
        done = subprocess.run(
            ["mvn", "-q", "-B", "-f", pom, "dependency:copy-dependencies",
             f"-DoutputDirectory={fresh}/jars"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise CannotFetchError(f"Maven cannot fetch Kafka's jars: {done.stdout[-500:]}")
        (Path(fresh) / "jars").rename(folder)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


@dataclass
class Broker:
    """One node. Its data outlives its process: `start` after `kill` goes on from it."""

    node: int
    port: int
    controller: int
    folder: Path
    voters: Mapping[int, int]
    settings: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    def format(self, cluster_id: str) -> None:
        """Prepare an empty data folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "server.properties").write_text(self._properties(), encoding="utf-8")
        self._java("kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", "server.properties")

    def start(self, *, wait: bool = True) -> None:
        """Start the process and wait until it listens."""
        out = (self.folder / "broker.out").open("ab")
        self.process = subprocess.Popen(
            [*self._command("kafka.Kafka"), "server.properties"],
            cwd=self.folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
        )  # fmt: skip
        out.close()
        if wait:
            self.wait()

    def start_again(self) -> None:
        """Start on the data that are there, maybe on another port."""
        (self.folder / "server.properties").write_text(self._properties(), encoding="utf-8")
        self.start()

    def kill(self) -> None:
        """`kill -9`."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        """Shut down in order."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """The process stands still, as on a machine that swaps."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def wait(self) -> None:
        """Wait until the node listens: it does so when its cluster has a leader."""
        end = time.monotonic() + _STARTS_WITHIN
        while time.monotonic() < end:
            assert self.process is not None
            if self.process.poll() is not None:
                break
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            time.sleep(0.1)
        told = (self.folder / "broker.out").read_text(errors="replace")[-2000:]
        raise RuntimeError(f"node {self.node} did not start: {told}")

    def _properties(self) -> str:
        nodes = ",".join(f"{n}@127.0.0.1:{port}" for n, port in self.voters.items())
        copies = str(min(3, len(self.voters)))
        chosen = {
            "process.roles": "broker,controller",
            "node.id": str(self.node),
            "controller.quorum.voters": nodes,
            "listeners": f"PLAINTEXT://{self.address},CONTROLLER://127.0.0.1:{self.controller}",
            "advertised.listeners": f"PLAINTEXT://{self.address}",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": "data",
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": copies,
            "offsets.topic.num.partitions": "1",
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.num.partitions": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": copies,
            "group.initial.rebalance.delay.ms": "0",
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            "controller.quorum.election.timeout.ms": "500",
            "controller.quorum.fetch.timeout.ms": "1000",
            **self.settings,
        }
        return "".join(f"{name}={value}\n" for name, value in chosen.items())

    def _command(self, main: str) -> list[str]:
        memory = ["-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        return ["java", *memory, "-cp", f"{jars()}/*", main]

    def _java(self, main: str, *arguments: str) -> None:
        subprocess.run(
            [*self._command(main), *arguments], cwd=self.folder, check=True, capture_output=True
        )


class Cluster:
    """Nodes that make one Kafka."""

    def __init__(self, folder: Path, *, nodes: int = 1, **settings: str) -> None:
        ports = [(free_port(), free_port()) for _ in range(nodes)]
        voters = {n: controller for n, (_, controller) in enumerate(ports, start=1)}
        named = {name.replace("_", "."): value for name, value in settings.items()}
        self.brokers = [
            Broker(n, port, controller, folder / f"node-{n}", voters, named)
            for n, (port, controller) in enumerate(ports, start=1)
        ]

    @property
    def servers(self) -> str:
        """All nodes' addresses, for a client."""
        return ",".join(broker.address for broker in self.brokers)

    def url(self, topic: str) -> str:
        """What `--log` takes."""
        return f"kafka://{self.servers}/{topic}"

    def start(self) -> Self:
        """Format and start all nodes."""
        import base64
        import uuid

        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        for broker in self.brokers:
            broker.format("A" + cluster_id[1:])  # an id must not begin with a dash
        for broker in self.brokers:
            broker.start(wait=False)
        for broker in self.brokers:
            broker.wait()
        return self

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        for broker in self.brokers:
            broker.kill()


def main() -> int:
    """Run one node until it is stopped. Its topics are kept, so that homes bound to them go on."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--port", type=int, default=9092)
    parser.add_argument(
        "--data", type=Path, default=Path("kafka-data"), help="where topics are kept"
    )
    options = parser.parse_args()
    # What a service manager, or `make`, sends means the same as ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        jars()
    except CannotFetchError as e:
        sys.stderr.write(f"{e}\n")
        return 1
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", options.port))
        except OSError as e:
            sys.stderr.write(
                f"port {options.port} is taken ({e.strerror}): another broker runs there; stop it, "
                "or choose another with --port\n"
            )
            return 1
    folder = options.data.absolute()
    cluster = Cluster(folder)
    (broker,) = cluster.brokers
    broker.port = options.port
    try:
        if (broker.folder / "data").is_dir():
            broker.start_again()
        else:
            cluster.start()
        print(f"Kafka listens on {broker.address}: headrace --log {cluster.url('orders')} …")
        print(f"Its topics are kept in {folder}; ctrl-C stops it.", flush=True)
        assert broker.process is not None
        code = broker.process.wait()
    except KeyboardInterrupt:
        broker.stop()
        return 0
    except RuntimeError as e:
        broker.kill()
        sys.stderr.write(f"{e}\n")
        return 1
    sys.stderr.write(
        f"Kafka ended by itself with exit code {code}; see {broker.folder}/broker.out\n"
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())

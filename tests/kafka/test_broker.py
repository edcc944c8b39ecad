"""`make kafka`: a broker for a person keeps its topics, and leaves nothing behind at its end."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.e2e.command import REPOSITORY, Headrace
from tests.e2e.orders import events, write
from tests.kafka.broker import CannotFetchError, free_port, jars

pytestmark = [pytest.mark.kafka, pytest.mark.thorough]


@contextmanager
def broker(data: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    """The broker as `make kafka` starts it; ended as `make` ends it."""
    try:
        jars()
    except CannotFetchError as e:
        pytest.skip(str(e))
    command = [sys.executable, "-m", "tests.kafka.broker", "--port", str(port), "--data", str(data)]
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        try:
            assert running.stdout is not None
            running.stdout.readline()
            yield running
        finally:
            running.terminate()
            running.wait(60)


def test_a_broker_keeps_its_topics_and_ends_with_its_java(tmp_path: Path) -> None:
    port, home = free_port(), Headrace(tmp_path / "home")
    log = f"kafka://127.0.0.1:{port}/orders"
    with broker(tmp_path / "data", port) as running:
        children = psutil.Process(running.pid).children(recursive=True)
        home.json("append", write(tmp_path / "a.ndjson", events(4, seed=1)), log=log)
        home.json("speed", "--once")
    assert running.returncode == 0
    assert children
    assert not any(child.is_running() for child in children)
    with broker(tmp_path / "data", port):
        home.json("append", write(tmp_path / "b.ndjson", events(3, seed=2)))
        home.json("speed", "--once")
        assert home.rows("SELECT count(*) FROM orders") == [[7]]


def test_a_port_that_is_taken_is_told_and_is_no_success(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with broker(tmp_path / "data", port) as running:
            assert running.wait(60) == 1
            assert running.stderr is not None
            assert f"port {port} is taken" in running.stderr.read()

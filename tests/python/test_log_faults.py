"""The log never stops or slows the server, cannot be forged, and holds no customers."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import time

import pytest

from evergreen_testing.model_repository import bundle, put, settings
from evergreen_testing.paths import CUSTOMERS, MODELS
from evergreen_testing.processes import free_port, until
from evergreen_testing.server_process import Instance, serving

POLL = "[models]\npoll_seconds = 0.1\n"
ALL = '[log]\nlevel = "debug"\n'


class Loud(Instance):
    """An instance whose standard output and error are given."""

    def start_with(self, stdout, stderr):
        command = [self.binary, "serve", "--config", str(self.config), "--models", str(self.models)]
        command += ["--customers", str(self.customers)]
        command += [
            word for port, number in self.ports.items() for word in (f"--{port}", f"127.0.0.1:{number}")
        ]
        self.log.touch()
        self.process = subprocess.Popen(command, stdout=stdout, stderr=stderr, cwd=self.folder)
        self.until_ready()
        return self


def unread_pipe():
    """Returns the writing end of a pipe that is full and that nobody reads, and the reading end."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)
    return writer, reader


def closed_pipe():
    """Returns the writing end of a pipe without a reader."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer, None


def full_disk():
    """Returns a file to which nothing can be written."""
    return os.open("/dev/full", os.O_WRONLY), None


@pytest.mark.parametrize("target", [closed_pipe, unread_pipe, full_disk])
def test_a_log_that_takes_nothing_changes_nothing(evergreen, tmp_path, target):
    models = tmp_path / "models"
    models.mkdir()
    put(bundle(tmp_path / "new"), models, 1)
    writer, reader = target()
    instance = Loud(evergreen, tmp_path, models=models, config=POLL + ALL)
    with instance:
        instance.start_with(writer, writer)
        os.close(writer)
        for _ in range(20):
            status, text = instance.ask("/v1/models/churn/scores/C-1042", port="http")
            assert status == 200, text
        put(bundle(tmp_path / "new"), models, 2)
        until(lambda: json.loads(instance.ask("/v1/models/churn")[1])["live"]["version"] == 2)
        # Refused versions are logged as well.
        (models / "churn/3").mkdir()
        (models / "churn/3/model.json").write_text("no model")
        assert instance.reasons() == (200, [])
        code, seconds = instance.stop()
        assert code == 0 and seconds < 20
    if reader is not None:
        os.close(reader)


def test_dropped_lines_are_counted_and_reported(evergreen, tmp_path):
    writer, reader = unread_pipe()
    instance = Loud(evergreen, tmp_path, config='[log]\nlevel = "debug"\n')
    with instance:
        instance.start_with(subprocess.DEVNULL, writer)
        os.close(writer)

        def dropped():
            found = re.search(r"evergreen_log_dropped_lines_total (\d+)", instance.ask("/metrics")[1])
            return int(found.group(1))

        end = time.monotonic() + 120
        while dropped() == 0:
            assert time.monotonic() < end
            for _ in range(100):
                instance.ask("/v1/models/churn/scores/C-1042", port="http")
        text = b""
        os.set_blocking(reader, False)
        while b"log lines dropped" not in text:
            assert time.monotonic() < end
            try:
                text += os.read(reader, 1 << 20)
            except BlockingIOError:
                time.sleep(0.01)
        assert re.search(rb"log lines dropped lines=\d+", text)
        assert instance.stop()[0] == 0
    os.close(reader)


def test_the_exit_code_does_not_depend_on_the_log(evergreen, tmp_path):
    command = [evergreen, "serve", "--models", str(tmp_path / "nowhere"), "--customers", str(CUSTOMERS)]
    command += [word for port in ("http", "grpc", "ops") for word in (f"--{port}", "127.0.0.1:0")]
    for target in (closed_pipe, unread_pipe, full_disk):
        writer, reader = target()
        ended = subprocess.run(command, stdout=writer, stderr=writer, timeout=60, check=False)
        assert ended.returncode == 2, target
        os.close(writer)
        if reader is not None:
            os.close(reader)
    with open("/dev/full", "w") as full:
        ended = subprocess.run([evergreen, "score", "nobody"], stdout=full, stderr=full, timeout=60)
    assert ended.returncode == 2


def test_a_second_signal_and_unfinished_requests_end_with_an_unread_log(evergreen, tmp_path):
    writer, reader = unread_pipe()
    instance = Loud(evergreen, tmp_path, config="[server]\ndrain_seconds = 60\n" + ALL)
    with instance:
        instance.start_with(writer, writer)
        os.close(writer)
        instance.terminate()
        until(lambda: instance.reasons()[0] == 503)
        instance.terminate(signal.SIGINT)
        code, seconds = instance.wait()
        assert code == 3 and seconds < 20
    os.close(reader)


def test_clients_cannot_flood_the_log(evergreen, tmp_path):
    with serving(evergreen, tmp_path, config=settings(tmp_path, ALL)) as server:
        host, port = server.http.base_url.host, server.http.base_url.port
        for _ in range(200):
            with socket.create_connection((host, port)) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\nno colon\r\n\r\n")
        name = "x" * 5000
        for _ in range(3):
            server.http.get(f"/v1/models/{name}")
        server.stop()
        lines = server.log.read_text().splitlines()
    assert sum("connection ended with an error" in line for line in lines) <= 2
    assert max(len(line) for line in lines) < 9000
    assert "\x1b" not in "".join(lines)


def test_the_output_names_no_customer(evergreen, tmp_path):
    with serving(evergreen, tmp_path) as server:
        assert "/scores/ID?explain=3" in server.banner
        assert not re.search(r"C-\d+", server.banner + server.log.read_text())


def test_a_rejected_snapshot_is_described_without_its_values(evergreen, tmp_path):
    customers = tmp_path / "customers.csv"
    header, *rows = (line.split(",") for line in read_csv())
    price = header.index("monthly_price")
    rows[4][price] = "ninety"
    customers.write_text("\n".join(",".join(row) for row in [header, *rows]) + "\n")
    port = ["--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--ops", f"127.0.0.1:{free_port()}"]
    command = [evergreen, "serve", "--models", str(MODELS), "--customers", str(customers), *port]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2 and "row 5, column `monthly_price`: expected" in ended.stderr, ended.stderr
    assert "ninety" not in ended.stderr
    rows[4] = rows[3]
    customers.write_text("\n".join(",".join(row) for row in [header, *rows]) + "\n")
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "row 5" in ended.stderr and "first seen in row 4" in ended.stderr
    assert rows[3][0] not in ended.stderr


def read_csv():
    """Returns the lines of the sample's customers as CSV."""
    import pyarrow.parquet as parquet

    table = parquet.read_table(CUSTOMERS)
    names = table.column_names
    yield ",".join(names)
    for row in table.slice(0, 50).to_pylist():
        yield ",".join("" if row[name] is None else str(row[name]) for name in names)

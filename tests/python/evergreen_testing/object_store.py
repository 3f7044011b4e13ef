"""A real server that speaks S3 (moto), on a free port."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO

import boto3
import httpx

from evergreen_testing.processes import free_port

BUCKET = "evergreen"


class Objects:
    """An S3 server and a client for it.

    `settings` is text for a settings file and `environment` are variables, with which a program uses the
    server.
    """

    process: subprocess.Popen[bytes]

    def __init__(self, port: int, log: IO[str]) -> None:
        self.port, self.log = port, log
        self.endpoint = f"http://127.0.0.1:{port}"
        self.settings = f'[storage]\nendpoint = "{self.endpoint}"\nallow_http = true\ntimeout_seconds = 5\n'
        self.environment = {
            "AWS_ACCESS_KEY_ID": "tester",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
        }

    def start(self) -> None:
        """Starts the server, waits until it answers, and makes the bucket."""
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self.process = subprocess.Popen(
            command, stdout=self.log, stderr=self.log, env=os.environ | self.environment
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                httpx.get(self.endpoint, timeout=5)
                break
            except httpx.HTTPError:
                assert time.monotonic() < deadline, "the object store did not start"
                time.sleep(0.05)
        self.client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id="tester",
            aws_secret_access_key="secret",
            region_name="us-east-1",
        )
        self.client.create_bucket(Bucket=BUCKET)

    def stop(self) -> None:
        """Kills the server."""
        self.process.kill()
        self.process.wait()

    def put(self, folder: Path, prefix: str, names: Collection[str] | None = None) -> None:
        """Uploads a folder's files below `prefix`, the contract last; with `names`, only these files."""
        files = sorted(folder.iterdir(), key=lambda file: file.name == "bundle.toml")
        for file in files:
            if names is None or file.name in names:
                self.client.put_object(Bucket=BUCKET, Key=f"{prefix}/{file.name}", Body=file.read_bytes())

    def keys(self, prefix: str = "") -> list[str]:
        """Returns the keys of all objects below `prefix`."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]


@contextlib.contextmanager
def object_store(folder: Path) -> Iterator[Objects]:
    """Runs an S3 server for the length of a block; its log is in `folder`."""
    with (folder / "objects.log").open("w") as log:
        store = Objects(free_port(), log)
        store.start()
        try:
            yield store
        finally:
            store.stop()

"""A real server that speaks S3, on a free port."""

import contextlib
import os
import socket
import subprocess
import sys
import time

import boto3
import httpx

BUCKET = "evergreen"


class Objects:
    """A running server, a client for it, and what a program must be told to use it."""

    def __init__(self, port, log):
        self.port, self.log, self.process = port, log, None
        self.endpoint = f"http://127.0.0.1:{port}"
        self.settings = f'[storage]\nendpoint = "{self.endpoint}"\nallow_http = true\ntimeout_seconds = 5\n'
        self.environment = {
            "AWS_ACCESS_KEY_ID": "tester",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
        }

    def start(self):
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

    def stop(self):
        self.process.kill()
        self.process.wait()

    def put(self, folder, prefix, names=None):
        """Uploads a folder's files, the contract last."""
        files = sorted(folder.iterdir(), key=lambda file: file.name == "bundle.toml")
        for file in files:
            if names is None or file.name in names:
                self.client.put_object(Bucket=BUCKET, Key=f"{prefix}/{file.name}", Body=file.read_bytes())

    def keys(self, prefix=""):
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]


@contextlib.contextmanager
def object_store(folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (folder / "objects.log").open("w") as log:
        store = Objects(port, log)
        store.start()
        try:
            yield store
        finally:
            store.stop()

"""A real nginx in front of servers, set up as its documentation says for backends that come and go."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from evergreen_testing.processes import free_port, wait_for
from evergreen_testing.server_process import Instance

SETTINGS = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
worker_processes 1;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  upstream rest {{ {rest} keepalive 16; }}
  upstream calls {{ {calls} keepalive 16; }}
  server {{
    listen 127.0.0.1:{http};
    keepalive_requests 1000000;
    location / {{
      proxy_pass http://rest;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_connect_timeout 1s;
      proxy_next_upstream error timeout http_503;
    }}
  }}
  server {{
    listen 127.0.0.1:{grpc} http2;
    keepalive_requests 1000000;
    location / {{
      grpc_pass grpc://calls;
      grpc_connect_timeout 1s;
      # gRPC is POST to nginx, which then would not ask the other server: scoring changes nothing, so it may.
      grpc_next_upstream error timeout http_503 non_idempotent;
    }}
  }}
}}
"""


@contextlib.contextmanager
def nginx(folder: Path, instances: Sequence[Instance]) -> Iterator[dict[str, str]]:
    """Starts nginx in `folder` and yields its addresses: a URL for `rest`, HOST:PORT for `grpc`. It spreads
    requests over the instances, and asks another one when one refuses."""
    folder.mkdir(parents=True, exist_ok=True)
    ports = {"http": free_port(), "grpc": free_port()}

    def servers(port: str) -> str:
        return " ".join(
            f"server 127.0.0.1:{each.ports[port]} max_fails=1 fail_timeout=1s;" for each in instances
        )

    settings = folder / "nginx.conf"
    settings.write_text(SETTINGS.format(folder=folder, rest=servers("http"), calls=servers("grpc"), **ports))
    binary = shutil.which("nginx") or "/usr/sbin/nginx"
    process = subprocess.Popen([binary, "-c", str(settings), "-e", str(folder / "error.log")])
    try:
        wait_for((folder / "nginx.pid").exists, "nginx")
        yield {"rest": f"http://127.0.0.1:{ports['http']}", "grpc": f"127.0.0.1:{ports['grpc']}"}
    finally:
        process.terminate()
        process.wait(timeout=30)

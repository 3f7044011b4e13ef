"""TLS and mutual TLS on REST and gRPC, and certificate rotation while the server runs."""

import os
import ssl
import subprocess
import threading

import grpc
import httpx
import pytest

from evergreen_testing import openapi
from evergreen_testing.certificates import Authority, settings
from evergreen_testing.grpc_client import Client
from evergreen_testing.paths import MODELS
from evergreen_testing.processes import until
from evergreen_testing.server_process import serving

PATH = "/v1/models/churn/scores/C-1042"


def context(authority, certificate=None, key=None, http2=False):
    made = ssl.create_default_context(cafile=str(authority.file))
    if certificate:
        made.load_cert_chain(certificate, key)
    if http2:
        made.set_alpn_protocols(["h2"])
    return made


def rest(server, authority, **options):
    return openapi.Client(
        base_url=f"https://{server.http.base_url.netloc.decode()}", verify=context(authority, **options)
    )


def channel(server, authority, certificate=None, key=None):
    files = [path.read_bytes() if path else None for path in (key, certificate)]
    credentials = grpc.ssl_channel_credentials(authority.file.read_bytes(), *files)
    return grpc.secure_channel(server.grpc, credentials)


def serial(server, authority):
    """Returns the serial number of the certificate presented to a new connection."""
    import socket

    address = server.http.base_url
    with (
        socket.create_connection((address.host, address.port)) as plain,
        context(authority).wrap_socket(plain, server_hostname="localhost") as encrypted,
    ):
        return encrypted.getpeercert()["serialNumber"]


def score_grpc(server, authority, **options):
    with channel(server, authority, **options) as opened:
        answer = Client(opened)("Score", model="churn", entities=[{"text_id": "C-1042"}])
        return answer.results[0].score


def test_both_protocols_are_encrypted_and_give_the_same_score(evergreen, tmp_path):
    authority = Authority(tmp_path)
    config = settings(tmp_path, *authority.issue())
    with serving(evergreen, tmp_path, config=config) as server:
        with rest(server, authority) as client:
            answer = client.get(PATH)
        assert answer.status_code == 200
        assert answer.json()["score"] == score_grpc(server, authority)
        assert "https://" in server.banner
        # Plain HTTP gets no answer; the operations port stays without TLS for probes and metrics.
        with pytest.raises(httpx.TransportError):
            server.http.get(PATH)
        assert server.ops.get("/readyz").status_code == 200
        until(lambda: 'refused_total{port="http",reason="handshake"} 1' in server.ops.get("/metrics").text)


def test_rest_speaks_http2_where_tls_agrees_on_it(evergreen, tmp_path):
    authority = Authority(tmp_path)
    config = settings(tmp_path, *authority.issue())
    with serving(evergreen, tmp_path, config=config) as server:
        url = f"https://{server.http.base_url.netloc.decode()}{PATH}"
        command = [
            "curl",
            "--silent",
            "--show-error",
            "--cacert",
            str(authority.file),
            "--output",
            os.devnull,
        ]
        for option, version in (("--http2", "2 200"), ("--http1.1", "1.1 200")):
            found = subprocess.run(
                [*command, option, "--write-out", "%{http_version} %{http_code}", url],
                capture_output=True,
                text=True,
            )
            assert found.stdout == version, found


def test_mutual_tls_wants_a_certificate_of_the_right_authority(evergreen, tmp_path):
    (tmp_path / "other").mkdir()
    authority, other = Authority(tmp_path), Authority(tmp_path / "other")
    mine, strange = authority.issue("client", identity="sales"), other.issue("client")
    config = settings(tmp_path, *authority.issue(), client_ca=authority.file)
    with serving(evergreen, tmp_path, config=config) as server:
        with rest(server, authority, certificate=mine[0], key=mine[1]) as client:
            score = client.get(PATH).json()["score"]
        assert score_grpc(server, authority, certificate=mine[0], key=mine[1]) == score
        for shown in ({}, {"certificate": strange[0], "key": strange[1]}):
            with rest(server, authority, **shown) as client, pytest.raises(httpx.TransportError):
                client.get(PATH)
            with pytest.raises(grpc.RpcError) as refused:
                score_grpc(server, authority, **shown)
            assert refused.value.code() == grpc.StatusCode.UNAVAILABLE


def test_certificates_change_under_load_and_a_broken_one_changes_nothing(evergreen, tmp_path):
    authority = Authority(tmp_path)
    # As Kubernetes mounts a Secret: the files are links through a link that is replaced.
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        for path in authority.issue():
            path.rename(tmp_path / name / path.name)
    swap = tmp_path / "..data"
    swap.symlink_to(tmp_path / "first")
    for name in ("server.pem", "server.key"):
        (tmp_path / name).symlink_to(swap / name)
    config = settings(tmp_path, tmp_path / "server.pem", tmp_path / "server.key")
    with serving(evergreen, tmp_path, config=config) as server:
        failed, asked, done = [], [0], threading.Event()

        def ask(one):
            while not done.is_set():
                try:
                    one()
                except Exception as error:
                    failed.append(repr(error))
                asked[0] += 1

        def new_connection():
            with rest(server, authority) as client:
                client.get(PATH).raise_for_status()

        kept = rest(server, authority)
        loads = [
            new_connection,
            lambda: kept.get(PATH).raise_for_status(),
            lambda: score_grpc(server, authority),
        ]
        threads = [threading.Thread(target=ask, args=(load,)) for load in loads]
        for thread in threads:
            thread.start()
        try:
            before = serial(server, authority)
            (tmp_path / "next").symlink_to(tmp_path / "second")
            (tmp_path / "next").rename(swap)
            until(lambda: serial(server, authority) != before)
            after = serial(server, authority)
            # Invalid, wrong key, expired: each is reported, and the previous certificate stays in use.
            certificate, key = tmp_path / "second/server.pem", tmp_path / "second/server.key"
            good = certificate.read_bytes()

            def put(data):
                """Writes in one step: a half-written file would add a failure."""
                (tmp_path / "aside").write_bytes(data)
                (tmp_path / "aside").rename(certificate)

            for trouble, words in [
                (lambda: put(b"-----BEGIN"), "no certificate"),
                (lambda: put(authority.issue("x")[0].read_bytes()), "does not match"),
                (lambda: put(authority.issue("y", days=-1)[0].read_bytes()), "expired on"),
                (lambda: certificate.unlink(), "No such file"),
            ]:
                trouble()
                until(lambda words=words: words in server.log.read_text())
                assert serial(server, authority) == after
            put(good)
            assert key.exists()
            until(lambda: server.log.read_text().count("TLS certificate loaded") == 3)
        finally:
            done.set()
            for thread in threads:
                thread.join()
        assert failed == [] and asked[0] > 20
        metrics = server.ops.get("/metrics").text
        assert 'evergreen_secret_reads_total{result="failed",what="certificate"} 4' in metrics
        assert "evergreen_tls_certificate_expiry_seconds 1" in metrics


def test_a_server_does_not_start_with_what_is_wrong(evergreen, tmp_path):
    authority = Authority(tmp_path)
    certificate, key = authority.issue()
    expired, its_key = authority.issue("expired", days=-2)
    junk = tmp_path / "junk.pem"
    junk.write_text("hello")

    def said(*arguments, **options):
        config = settings(tmp_path, *arguments, **options)
        command = [evergreen, "serve", "--config", str(config), "--models", str(MODELS)]
        command += [word for port in ("http", "grpc", "ops") for word in (f"--{port}", "127.0.0.1:0")]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=30)
        assert ended.returncode == 2, ended
        return ended.stderr

    assert "expired.pem, certificate 1: expired on 20" in said(expired, its_key)
    assert "does not match" in said(certificate, its_key)
    assert "junk.pem: no certificate found" in said(junk, key)
    assert "tls.key" in said(certificate, junk) and "junk.pem" in said(certificate, junk)
    assert "nowhere.pem: " in said(tmp_path / "nowhere.pem", key)
    assert "junk.pem" in said(certificate, key, client_ca=junk)
    assert "set both tls.certificate and tls.key" in said(certificate, "")

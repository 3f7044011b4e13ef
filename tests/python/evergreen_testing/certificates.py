"""An authority of our own, and what it vouches for."""

import datetime
from pathlib import Path

import trustme

NOW = datetime.datetime.now(datetime.UTC)


class Authority:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.ca = trustme.CA()
        self.file = self.folder / "ca.pem"
        self.ca.cert_pem.write_to_path(str(self.file))

    def issue(self, name="server", days=1, identity="localhost"):
        """Writes a certificate and its key, and returns their paths. With negative days it has expired."""
        start = NOW - datetime.timedelta(days=30)
        leaf = self.ca.issue_cert(identity, "127.0.0.1", not_before=start, not_after=NOW + datetime.timedelta(days=days))
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        leaf.private_key_pem.write_to_path(str(key))
        return certificate, key


def settings(folder, certificate, key, client_ca=None, poll=0.1, more=""):
    """A settings file with TLS."""
    path = Path(folder) / "tls.toml"
    authority = f"client_ca = '{client_ca}'\n" if client_ca else ""
    path.write_text(
        f"[server]\npoll_seconds = {poll}\n[tls]\ncertificate = '{certificate}'\nkey = '{key}'\n{authority}{more}"
    )
    return path

"""A certificate authority for tests, and settings with TLS."""

import datetime
from pathlib import Path

import trustme

NOW = datetime.datetime.now(datetime.UTC)


class Authority:
    """A certificate authority. `file` holds its own certificate; it issues certificates into `folder`."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.ca = trustme.CA()
        self.file = self.folder / "ca.pem"
        self.ca.cert_pem.write_to_path(str(self.file))

    def issue(self, name: str = "server", days: int = 1, identity: str = "localhost") -> tuple[Path, Path]:
        """Writes a certificate for `identity` and 127.0.0.1 with its key, and returns the paths of both. It
        is valid for `days` from now; with negative days it has expired."""
        start, end = NOW - datetime.timedelta(days=30), NOW + datetime.timedelta(days=days)
        leaf = self.ca.issue_cert(identity, "127.0.0.1", not_before=start, not_after=end)
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        leaf.private_key_pem.write_to_path(str(key))
        return certificate, key


def settings(
    folder: Path | str,
    certificate: Path | str,
    key: Path | str,
    client_ca: Path | str | None = None,
    poll: float = 0.1,
    more: str = "",
) -> Path:
    """Writes a settings file with TLS and returns its path. With `client_ca`, clients need a certificate of
    that authority; `poll` is in seconds; `more` is appended."""
    path = Path(folder) / "tls.toml"
    authority = f"client_ca = '{client_ca}'\n" if client_ca else ""
    tls = f"certificate = '{certificate}'\nkey = '{key}'\n{authority}"
    path.write_text(f"[server]\npoll_seconds = {poll}\n[tls]\n{tls}{more}")
    return path

"""Finds a model by a path or a URI: local files as they are, and those of a store as a temporary copy."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Located", "is_uri", "located", "shown"]

EXPECTED = "expected a local path, or a URI such as file:///models/churn/4 or s3://bucket/churn/4"


class Located(NamedTuple):
    """A model whose files can be read."""

    path: str
    """The local path of the files."""
    uri: str | None
    """The URI of which they are a copy; None if they are not a copy."""

    def original(self, path: str) -> str:
        """Return where a file or folder at or below `path` lies: in a store, by its URI."""
        if self.uri is None:
            return path
        from urllib.parse import quote, urlsplit

        uri = urlsplit(self.uri)
        inside = path.removeprefix(self.path).replace(os.sep, "/")
        return uri._replace(path=uri.path.rstrip("/") + quote(inside)).geturl()

    def text(self, text: str) -> str:
        """Return a message with the name of the copy as the caller knows it."""
        return text if self.uri is None else text.replace(self.path, shown(self.uri))


def is_uri(path: str) -> bool:
    """Return whether a text is a URI and not a local path."""
    scheme, separator, _ = path.partition(":")
    # One letter is the drive of a Windows path.
    return bool(separator) and len(scheme) > 1 and scheme.isalnum()


def shown(path: str) -> str:
    """Return a path or URI for messages: without a user, a password and options, which may be secret."""
    if not is_uri(path):
        return path
    from urllib.parse import urlsplit

    uri = urlsplit(path)
    return uri._replace(netloc=uri.netloc.rpartition("@")[2], query="", fragment="").geturl()


@contextlib.contextmanager
def located(path: str | os.PathLike[str]) -> Iterator[Located]:
    """Make a model's files readable for the length of a block; a loaded model needs them no longer.

    Raises FileNotFoundError if a store has nothing there, ValueError if it is a URI of no known kind, ImportError if it
    needs pyarrow and that is missing, and OSError if a store cannot be reached.
    """
    path = os.fspath(path)
    if not is_uri(path):
        yield Located(path, None)
        return
    # Imported here, as these take longer than all else of this module.
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    uri = urlsplit(path)
    if uri.scheme == "file":
        if uri.netloc not in ("", "localhost"):
            raise ValueError(f"{path}: {EXPECTED}; a file URI has no host")
        yield Located(url2pathname(uri.path), None)
        return
    import tempfile

    with tempfile.TemporaryDirectory(prefix="evergreen-") as folder:
        yield Located(_copied(path, folder), path)


def _copied(uri: str, folder: str) -> str:
    """Copy what a store has at `uri` into `folder`, and return the path of the copy."""
    from urllib.parse import unquote, urlsplit

    try:
        from pyarrow import fs
    except ImportError as error:
        raise ImportError(
            f"{shown(uri)}: needs pyarrow ({error}): pip install pyarrow, or copy the bundle and load its local path, "
            "such as models/churn/4"
        ) from error
    try:
        store, source = fs.FileSystem.from_uri(uri)
    except (ValueError, NotImplementedError) as error:
        # Its message may repeat the URI, which may have a password.
        reason = str(error).replace(uri, shown(uri))
        raise ValueError(f"{shown(uri)}: {EXPECTED}; pyarrow says: {reason}") from None
    found = store.get_file_info(source).type
    if found == fs.FileType.NotFound:
        raise FileNotFoundError(
            f"{shown(uri)}: no such file or folder; expected a bundle such as s3://bucket/churn/4"
        )
    # The model's name and version are the last parts of the path.
    parts = [part for part in unquote(urlsplit(uri).path).split("/") if part not in ("", ".", "..")][-2:]
    target = os.path.join(folder, *(parts or ["model"]))
    os.makedirs(target if found == fs.FileType.Directory else os.path.dirname(target), exist_ok=True)
    fs.copy_files(source, target, source_filesystem=store, destination_filesystem=fs.LocalFileSystem())
    return target

"""Clients that do what no good client does: raw HTTP/1.1, HTTP/2 frame by frame, and gRPC messages by hand."""

import contextlib
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import h2.settings

from evergreen_testing.server_process import Server

MIB = 1 << 20

# The memory budget of the servers under attack.
BUDGET = 48 * MIB

SCORE = "/evergreen.v1.ScoringService/Score"
INFER = "/inference.GRPCInferenceService/ModelInfer"


def connect(address: str, tls: ssl.SSLContext | None = None, timeout: float = 20) -> socket.socket:
    """Connects to HOST:PORT, with TLS if a context is given."""
    host, port = address.rsplit(":", 1)
    client = socket.create_connection((host, int(port)), timeout=timeout)
    return tls.wrap_socket(client, server_hostname=host) if tls else client


def read_answer(client: socket.socket) -> bytes:
    """Reads from an HTTP/1.1 connection until the server closes it or sends nothing for a while."""
    data = b""
    with contextlib.suppress(TimeoutError, ConnectionResetError):
        while part := client.recv(65536):
            data += part
    return data


def send_some(client: socket.socket, content: bytes) -> None:
    """Sends as much as a connection that does not block takes within two seconds."""
    end = time.monotonic() + 2
    while content and time.monotonic() < end:
        try:
            content = content[client.send(content) :]
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            time.sleep(0.005)
        except OSError:
            return


def head(path: str, length: int | str, *headers: str, method: str = "POST") -> bytes:
    """Returns the head of an HTTP/1.1 request with a body of this many bytes."""
    lines = [f"{method} {path} HTTP/1.1", "host: x", f"content-length: {length}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def varint(number: int) -> bytes:
    """Encodes a number as protobuf does."""
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def field(number: int, content: bytes) -> bytes:
    """Encodes a length-delimited protobuf field."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def message(content: bytes, compressed: bool = False) -> bytes:
    """Frames a gRPC message."""
    return struct.pack(">BI", compressed, len(content)) + content


class Http2:
    """An HTTP/2 connection without any help: it opens windows and reads only when told to."""

    def __init__(
        self,
        address: str,
        window: int = 65535,
        tls: ssl.SSLContext | None = None,
        connection_window: int = 1 << 28,
    ) -> None:
        self.socket = connect(address, tls)
        config = h2.config.H2Configuration(header_encoding="utf-8", validate_outbound_headers=False)
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        self.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
        if connection_window > 65535:
            self.h2.increment_flow_control_window(connection_window - 65535)
        self.flush()
        self.settled = 0
        self.ended: dict[int, h2.events.Event] = {}
        self.status: dict[int, dict[str, str]] = {}
        self.data: dict[int, bytes] = {}
        self.closed = False
        # Until the server has acknowledged it, the usual window applies.
        while self.settled < 2 and not self.closed:
            self.read(5)

    def flush(self) -> None:
        """Sends what is waiting."""
        self.socket.sendall(self.h2.data_to_send())

    def request(self, path: str, *headers: tuple[str, str], method: str = "POST", end: bool = False) -> int:
        """Sends the headers of a request and returns its stream."""
        stream: int = self.h2.get_next_available_stream_id()
        usual = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "x")]
        self.h2.send_headers(stream, usual + list(headers), end_stream=end)
        self.flush()
        return stream

    def call(self, path: str, content: bytes, *headers: tuple[str, str]) -> int:
        """Sends a whole gRPC call and returns its stream."""
        stream = self.request(path, ("content-type", "application/grpc"), ("te", "trailers"), *headers)
        self.send(stream, content, end=True)
        return stream

    def send(self, stream: int, content: bytes, end: bool = False) -> None:
        """Sends data, and reads to learn of a larger window. Stops when the server has ended the stream."""
        while (content or end) and not self.closed and stream not in self.ended:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
            if content and not room:
                self.read(5)
                continue
            part, content = content[:room], content[room:]
            self.h2.send_data(stream, part, end_stream=end and not content)
            self.flush()
            if not content:
                return

    def read(self, seconds: float) -> None:
        """Reads one portion of what has arrived, or waits this long for it."""
        self.socket.settimeout(seconds)
        try:
            data = self.socket.recv(1 << 16)
        except (TimeoutError, ConnectionResetError, BrokenPipeError) as error:
            self.closed |= not isinstance(error, TimeoutError)
            return
        if not data:
            self.closed = True
            return
        for event in self.h2.receive_data(data):
            self.note(event)
        with contextlib.suppress(OSError):
            self.flush()

    def note(self, event: h2.events.Event) -> None:
        """Remembers an event."""
        if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
            headers = {str(name): str(value) for name, value in event.headers}
            self.status.setdefault(event.stream_id, {}).update(headers)
        if isinstance(event, h2.events.DataReceived):
            self.data[event.stream_id] = self.data.get(event.stream_id, b"") + event.data
        if isinstance(event, h2.events.StreamEnded | h2.events.StreamReset):
            self.ended[event.stream_id] = event
        self.settled += isinstance(event, h2.events.SettingsAcknowledged)
        if isinstance(event, h2.events.ConnectionTerminated):
            self.closed = True

    def answers(self, streams: list[int], seconds: float = 30) -> None:
        """Reads until these streams have ended or the connection is closed."""
        end = time.monotonic() + seconds
        while not self.closed and set(streams) - set(self.ended):
            assert time.monotonic() < end, f"{len(set(streams) - set(self.ended))} streams have no answer"
            self.read(0.5)

    def close(self) -> None:
        """Closes the connection."""
        self.socket.close()


def is_idle(server: Server) -> bool:
    """Whether no request of a server holds memory any more."""
    return 'evergreen_memory_budget_bytes{state="used"} 0\n' in server.ops.get("/metrics").text


class Memory:
    """The resident memory of a process in MiB."""

    def __init__(self, pid: int) -> None:
        self.folder = Path(f"/proc/{pid}")

    def _value(self, name: str) -> float:
        for line in (self.folder / "status").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) / 1024
        raise AssertionError(name)

    def now(self) -> float:
        """What is resident."""
        return self._value("VmRSS")

    @contextlib.contextmanager
    def peak(self) -> Iterator[list[float]]:
        """Measures the growth to the peak within the block; the list has it afterwards."""
        (self.folder / "clear_refs").write_text("5")
        before = self.now()
        found: list[float] = []
        yield found
        found.append(self._value("VmHWM") - before)
        print(f"peak: {before:.0f} + {found[0]:.0f} MiB")

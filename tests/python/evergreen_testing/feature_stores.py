"""Real feature stores, each started on a free port in a folder of its own and stopped again."""

import asyncio
import contextlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from evergreen_testing.processes import free_port, program, wait_for


class Redis:
    """A Redis that can be killed, paused and started again on the same port. It keeps its data in `folder`,
    and gets `arguments` on its command line."""

    process: subprocess.Popen[bytes]

    def __init__(self, folder: Path | str, *arguments: str, port: int | None = None) -> None:
        self.folder, self.arguments, self.port = Path(folder), arguments, port or free_port()
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        """The address in the form of the settings."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self, answers: bool = True) -> Self:
        """Starts the server, and waits until it answers unless `answers` is false."""
        command = [program("redis-server"), "--port", str(self.port), "--dir", str(self.folder)]
        command += ["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--appendfsync", "always"]
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen([*command, *self.arguments], stdout=log)
        if answers:
            wait_for(self.answers, "Redis")
        return self

    def answers(self) -> bool:
        """Returns true if the server answers, also if it asks for a password."""
        answer = subprocess.run(self.cli("ping"), capture_output=True).stdout.strip()
        return answer in (b"PONG", b"NOAUTH Authentication required.")

    def cli(self, *arguments: str) -> list[str]:
        """Returns the command that runs redis-cli with these arguments."""
        return [program("redis-cli"), "-p", str(self.port), *arguments]

    def kill(self) -> None:
        """Kills the server and waits for its end."""
        self.process.kill()
        self.process.wait()

    def signal(self, number: int) -> None:
        """Sends a signal, such as SIGSTOP to pause the server."""
        self.process.send_signal(number)


@contextlib.contextmanager
def redis_server(folder: Path | str, *arguments: str) -> Iterator[Redis]:
    """Runs a Redis for the length of a block."""
    redis = Redis(folder, *arguments).start()
    try:
        yield redis
    finally:
        redis.kill()


@contextlib.contextmanager
def redis_cluster(folder: Path | str) -> Iterator[list[Redis]]:
    """Runs a Redis Cluster of three masters and three replicas for the length of a block."""
    nodes: list[Redis] = []
    try:
        for number in range(6):
            # The cluster's own port is 10,000 higher.
            port = next(p for p in iter(free_port, None) if p < 50_000)
            arguments = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"]
            arguments += ["--cluster-require-full-coverage", "no"]
            nodes.append(Redis(Path(folder) / str(number), *arguments, port=port).start())
        create = [program("redis-cli"), "--cluster", "create", "--cluster-replicas", "1", "--cluster-yes"]
        subprocess.run(
            create + [f"127.0.0.1:{node.port}" for node in nodes], check=True, capture_output=True, timeout=60
        )

        def says(node: Redis, *arguments: str) -> str:
            return subprocess.run(node.cli(*arguments), capture_output=True, text=True).stdout

        # A replica that has not had its master's data yet would not stand for election.
        def whole(node: Redis) -> bool:
            info = says(node, "cluster", "info")
            replication = says(node, "info", "replication")
            follows = "role:slave" not in replication or "master_link_status:up" in replication
            return "cluster_state:ok" in info and "cluster_known_nodes:6" in info and follows

        wait_for(lambda: all(whole(node) for node in nodes), "the Redis cluster")
        yield nodes
    finally:
        for node in nodes:
            node.kill()


class Proxy:
    """A proxy in front of the port `target`: it passes bytes on after half of `delay` (seconds) in each
    direction. `delay` may change while it runs. It ends with the process."""

    def __init__(self, target: int, delay: float = 0.0) -> None:
        self.port, self.target, self.delay = free_port(), target, delay
        started = threading.Event()
        threading.Thread(target=asyncio.run, args=(self.run(started),), daemon=True).start()
        started.wait()

    async def run(self, started: threading.Event) -> None:
        """Accepts connections until the process ends."""
        async with await asyncio.start_server(self.connect, "127.0.0.1", self.port) as server:
            started.set()
            await server.serve_forever()

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Connects a client to the target."""
        theirs = await asyncio.open_connection("127.0.0.1", self.target)
        await asyncio.gather(self.pump(reader, theirs[1]), self.pump(theirs[0], writer))

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Passes bytes on in one direction."""
        loop, last = asyncio.get_running_loop(), 0.0
        while data := await reader.read(1 << 20):
            # In order, also when the delay becomes shorter.
            last = max(last, loop.time() + self.delay / 2)
            loop.call_at(last, writer.write, data)
        loop.call_at(max(last, loop.time()), writer.close)


class Postgres:
    """A PostgreSQL in a folder of its own. PostgreSQL refuses to run as root: where the tests do, the user
    `postgres` runs it."""

    process: subprocess.Popen[bytes]

    def __init__(self, folder: Path | str, *, fsync: bool = False) -> None:
        self.fsync = fsync
        self.folder, self.port = Path(folder) / "postgres", free_port()
        self.programs = Path(program("initdb", "usr/lib/postgresql/*/bin")).resolve().parent
        self.user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        self.folder.mkdir(parents=True)
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
            for parent in list(self.folder.parents)[:-1]:
                parent.chmod(parent.stat().st_mode | 0o011)
        self.run("initdb", "-D", str(self.folder / "data"), "-U", "evergreen", "--auth=trust", "--no-sync")

    @property
    def connect(self) -> str:
        """The address in the form of the settings."""
        return f"host=127.0.0.1 port={self.port} user=evergreen dbname=postgres"

    def command(self, name: str, *arguments: str) -> list[str]:
        """Returns the command that runs a program of PostgreSQL as the right user."""
        command = [str(self.programs / name), *arguments]
        if os.geteuid() != 0:
            return command
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]

    def run(self, name: str, *arguments: str) -> None:
        """Runs a program of PostgreSQL to its end."""
        subprocess.run(self.command(name, *arguments), check=True, capture_output=True, cwd="/")

    def start(self) -> Self:
        """Starts the server and waits until it answers."""
        settings = ["-p", str(self.port), "-k", str(self.folder)]
        settings += ["-c", "listen_addresses=127.0.0.1", "-c", f"fsync={'on' if self.fsync else 'off'}"]
        command = self.command("postgres", "-D", str(self.folder / "data"), *settings)
        path = self.folder.parent / "postgres.log"
        with path.open("a") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/")

        def ready() -> bool:
            check = self.command(
                "pg_isready", "-h", "127.0.0.1", "-p", str(self.port), "-U", "evergreen", "-d", "postgres"
            )
            return subprocess.run(check, capture_output=True, cwd="/").returncode == 0

        wait_for(ready, f"PostgreSQL (see {path})", 90)
        return self

    def sql(self, text: str) -> None:
        """Executes SQL; raises CalledProcessError at the first error."""
        command = self.command(
            "psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "evergreen", "-d", "postgres"
        )
        command += ["-v", "ON_ERROR_STOP=1", "-q", "-c", text]
        subprocess.run(command, check=True, capture_output=True, cwd="/", text=True)

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Returns the rows of a query, each by the names of its columns."""
        command = self.command(
            "psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "evergreen", "-d", "postgres"
        )
        command += ["-v", "ON_ERROR_STOP=1", "-q", "-At", "-c"]
        wrapped = f"SELECT coalesce(json_agg(r), '[]') FROM ({query}) r"
        done = subprocess.run([*command, wrapped], check=True, capture_output=True, cwd="/", text=True)
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    @contextlib.contextmanager
    def locked(self, *tables: str) -> Iterator[None]:
        """Keeps every statement on these tables waiting for the length of a block."""
        command = self.command(
            "psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "evergreen", "-d", "postgres"
        )
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen([*command, "-q", "-At"], cwd="/", **pipes) as psql:
            assert psql.stdin and psql.stdout
            psql.stdin.write(f"BEGIN; LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE; SELECT 1;\n")
            psql.stdin.flush()
            assert psql.stdout.readline() == "1\n"
            try:
                yield
            finally:
                # The end of its input ends the session, and with it the lock.
                psql.stdin.close()

    def kill(self) -> None:
        """Stops the server as in a crash: connections break off. SIGQUIT is its immediate shutdown."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(timeout=120)


@contextlib.contextmanager
def postgres_server(folder: Path | str, *, fsync: bool = False) -> Iterator[Postgres]:
    """Runs a PostgreSQL for the length of a block. Without `fsync` it is fast, and a power failure would damage it."""
    postgres = Postgres(folder, fsync=fsync).start()
    try:
        yield postgres
    finally:
        if postgres.process.poll() is None:
            postgres.kill()

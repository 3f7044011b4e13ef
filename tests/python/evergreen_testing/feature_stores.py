"""Real feature stores, each started on a free port in a folder of its own and stopped again."""

import asyncio
import contextlib
import os
import pwd
import shutil
import subprocess
import threading
from pathlib import Path

from evergreen_testing.processes import free_port, program, wait_for


class Redis:
    """A Redis that can be killed, paused and started again on the same port."""

    def __init__(self, folder, *arguments, port=None):
        self.folder, self.arguments, self.port = Path(folder), arguments, port or free_port()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.process = None

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}"

    def start(self, answers=True):
        command = [program("redis-server"), "--port", str(self.port), "--dir", str(self.folder)]
        command += ["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--appendfsync", "always"]
        self.process = subprocess.Popen(command + list(self.arguments), stdout=open(self.folder / "log", "a"))
        if answers:
            wait_for(self.answers, "Redis")
        return self

    def answers(self):
        return subprocess.run(self.cli("ping"), capture_output=True).stdout.strip() in (
            b"PONG",
            b"NOAUTH Authentication required.",
        )

    def cli(self, *arguments):
        return [program("redis-cli"), "-p", str(self.port), *arguments]

    def kill(self):
        self.process.kill()
        self.process.wait()

    def signal(self, number):
        self.process.send_signal(number)


@contextlib.contextmanager
def redis_server(folder, *arguments):
    redis = Redis(folder, *arguments).start()
    try:
        yield redis
    finally:
        redis.kill()


@contextlib.contextmanager
def redis_cluster(folder):
    """Three masters and three replicas."""
    nodes = []
    try:
        for number in range(6):
            # The cluster's own port is 10,000 higher.
            port = next(p for p in iter(free_port, None) if p < 50_000)
            arguments = [
                "--cluster-enabled",
                "yes",
                "--cluster-node-timeout",
                "2000",
                "--cluster-require-full-coverage",
                "no",
            ]
            nodes.append(Redis(Path(folder) / str(number), *arguments, port=port).start())
        create = [program("redis-cli"), "--cluster", "create", "--cluster-replicas", "1", "--cluster-yes"]
        subprocess.run(
            create + [f"127.0.0.1:{node.port}" for node in nodes], check=True, capture_output=True, timeout=60
        )

        def says(node, *arguments):
            return subprocess.run(node.cli(*arguments), capture_output=True, text=True).stdout

        # A replica that has not had its master's data yet would not stand for election.
        def whole(node):
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
    """Stands between a client and a store, and hands bytes on after a delay in seconds, half of it in each direction."""

    def __init__(self, target, delay=0.0):
        self.port, self.target, self.delay = free_port(), target, delay
        started = threading.Event()
        threading.Thread(target=asyncio.run, args=(self.run(started),), daemon=True).start()
        started.wait()

    async def run(self, started):
        async with await asyncio.start_server(self.connect, "127.0.0.1", self.port) as server:
            started.set()
            await server.serve_forever()

    async def connect(self, reader, writer):
        theirs = await asyncio.open_connection("127.0.0.1", self.target)
        await asyncio.gather(self.pump(reader, theirs[1]), self.pump(theirs[0], writer))

    async def pump(self, reader, writer):
        loop, last = asyncio.get_running_loop(), 0.0
        while data := await reader.read(1 << 20):
            # In order, also when the delay becomes shorter.
            last = max(last, loop.time() + self.delay / 2)
            loop.call_at(last, writer.write, data)
        loop.call_at(max(last, loop.time()), writer.close)


class Postgres:
    """A PostgreSQL in a folder of its own. It refuses to run as root: then it runs as the user `postgres`."""

    def __init__(self, folder):
        self.folder, self.port, self.process = Path(folder) / "postgres", free_port(), None
        self.programs = Path(program("initdb", "usr/lib/postgresql/*/bin")).resolve().parent
        self.user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        self.folder.mkdir(parents=True)
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
            for parent in list(self.folder.parents)[:-1]:
                parent.chmod(parent.stat().st_mode | 0o011)
        self.run("initdb", "-D", str(self.folder / "data"), "-U", "evergreen", "--auth=trust", "--no-sync")

    @property
    def connect(self):
        return f"host=127.0.0.1 port={self.port} user=evergreen dbname=postgres"

    def command(self, name, *arguments):
        command = [str(self.programs / name), *arguments]
        return (
            ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]
            if os.geteuid() == 0
            else command
        )

    def run(self, name, *arguments):
        subprocess.run(self.command(name, *arguments), check=True, capture_output=True, cwd="/")

    def start(self):
        settings = [
            "-p",
            str(self.port),
            "-k",
            str(self.folder),
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "fsync=off",
        ]
        command = self.command("postgres", "-D", str(self.folder / "data"), *settings)
        log = (self.folder.parent / "postgres.log").open("a")
        self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/")

        def ready():
            check = self.command(
                "pg_isready", "-h", "127.0.0.1", "-p", str(self.port), "-U", "evergreen", "-d", "postgres"
            )
            return subprocess.run(check, capture_output=True, cwd="/").returncode == 0

        wait_for(ready, f"PostgreSQL (see {log.name})", 90)
        return self

    def sql(self, text):
        command = self.command(
            "psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "evergreen", "-d", "postgres"
        )
        command += ["-v", "ON_ERROR_STOP=1", "-q", "-c", text]
        subprocess.run(command, check=True, capture_output=True, cwd="/", text=True)

    def kill(self):
        """As a crash: no goodbye to the clients."""
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-m", "immediate", "stop")
        self.process.wait()


@contextlib.contextmanager
def postgres_server(folder):
    postgres = Postgres(folder).start()
    try:
        yield postgres
    finally:
        if postgres.process.poll() is None:
            postgres.kill()

"""Bursts of clients of one kind after the other: each kind uses memory that another one has freed, or the process grows."""

import random
import sys

import pytest

from evergreen_testing.hostile import BUDGET, MIB, Memory, is_idle
from evergreen_testing.paths import ROOT
from evergreen_testing.processes import until
from evergreen_testing.server_process import serving

sys.path.append(str(ROOT / "tests/soak"))
import soak_attacks


@pytest.mark.parametrize("arenas", [8, 256])
def test_the_process_keeps_no_more_than_it_may(evergreen, tmp_path, arenas):
    """The allocator has four arenas per processor, each with free memory of its own."""
    config = tmp_path / "e.toml"
    config.write_text(f"[limits]\nmemory = {BUDGET}\n")
    environment = {"TOKIO_WORKER_THREADS": "2", "_RJEM_MALLOC_CONF": f"narenas:{arenas}"}
    with serving(evergreen, tmp_path, config=config, **environment) as server:
        target = soak_attacks.Target(server.http.base_url.netloc.decode(), server.grpc, "", "", "")
        with Memory(server.process.pid).peak() as peak:
            soak_attacks.bursts(target, random.Random(1))
        until(lambda: is_idle(server), 30)
        answer = server.http.get("/v1/models/churn/scores/C-1042")
        assert answer.status_code == 200 and answer.json()["status"] == "ok"
    # The bound of SECURITY.md, with a thread for each client.
    assert peak[0] < 1.5 * BUDGET / MIB + 48 + 0.3 * soak_attacks.CLIENTS

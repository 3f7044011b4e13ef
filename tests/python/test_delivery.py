"""Short forms of tests/soak/delivery.py: clients during restarts and overload."""

import sys

from evergreen_testing.paths import ROOT

sys.path.append(str(ROOT / "tests/soak"))
import delivery


def test_restarts_behind_nginx_lose_no_request(evergreen, tmp_path):
    seen = delivery.rolling(evergreen, tmp_path, rounds=2, rate=30, steady=1, drain=1, pause=2.5)
    assert seen["codes"] == [0] and seen["restarts"] == 4 and seen["asked"] > 200
    assert [seen[kind]["first"] for kind in ("rest", "grpc")] == [[], []], seen["nginx"]


def test_a_flooded_server_refuses_at_once_and_stays_alive(evergreen, tmp_path):
    seen = delivery.overload(
        evergreen, tmp_path, rounds=1, seconds=4, warm=3, entities=20, in_flight=1000, factor=8
    )
    assert seen["other_answers"] == 0 and seen["probes_failed"] == 0 and seen["probes"] > 5
    assert seen["refused"] == seen["with_retry_after"] > 0
    assert seen["goodput_to_peak"] > 0.2

"""The prediction log of a server that is killed again and again.

    cargo build --release --features full
    python tests/soak/prediction_log.py --binary target/release/evergreen --kills 20

Prints the answers, the rows in the log, and what the next start said of the others; fails if more is lost than the open
row group, or a row is in the log twice. A short form runs in `tests/run`.
"""

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests/python"))


def main() -> None:
    from evergreen_testing.killed_logs import kill_repeatedly

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/debug/evergreen")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seconds", type=int, default=1, help="row_group_seconds")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="evergreen-log-") as work:
        binary = str(Path(arguments.binary).resolve())
        kills = kill_repeatedly(binary, Path(work), arguments.kills, arguments.seconds)
    print("answered  logged    lost  reported")
    for kill in kills:
        print(f"{kill.answered:8} {kill.logged:7} {kill.lost:7} {kill.reported:9}")
    lost, reported = sum(kill.lost for kill in kills), sum(kill.reported for kill in kills)
    print(f"{len(kills)} kills: {lost} answers lost, {reported} reported, 0 rows twice, 0 torn files")


if __name__ == "__main__":
    main()

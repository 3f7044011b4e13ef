"""Trains the matrix of models with the real libraries and records what they answer.

    python generate.py OUT [--library xgboost|lightgbm|catboost|sklearn] [--few] [--core] [--full --telco FILE.csv]

What is recorded comes from the training library alone. Run it in an environment that has the library in the
release to be recorded; `releases.sh` does so for all of them. The telecom table is needed only for `--full`, and
neither it nor a full run belongs in the repository.
"""

import argparse
import importlib
import warnings

import data
from record import Recorder

LIBRARIES = ["xgboost", "lightgbm", "catboost"]


def main():
    """Parses the command line and runs the cases of each library that is installed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out")
    parser.add_argument("--library", choices=LIBRARIES, action="append")
    parser.add_argument("--few", action="store_true", help="keep few rows of each case")
    parser.add_argument("--core", action="store_true", help="record only the cases that tell releases apart")
    parser.add_argument("--full", action="store_true", help="also train on the telecom table")
    parser.add_argument("--telco", help="the telecom table, as CSV")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    table = data.telco(options.telco) if options.full else None
    recorder = Recorder(options.out, options.few, options.core)
    for library in options.library or LIBRARIES:
        try:
            importlib.import_module(library)
        except ImportError:
            continue
        importlib.import_module(f"{library}_cases").run(recorder, table)
    print(f"{recorder.cases} cases in {options.out}")


if __name__ == "__main__":
    main()

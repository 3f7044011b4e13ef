"""Folders and files of this repository."""

from pathlib import Path

ROOT = Path(__file__).parents[3]
#: The shipped model repository, with the sample model `churn`.
MODELS = ROOT / "models"
#: The shipped customers, a snapshot for the sample model.
CUSTOMERS = MODELS / "customers.parquet"
#: Programs that tests run with another Python or in a process of their own.
SCRIPTS = ROOT / "tests" / "python" / "scripts"

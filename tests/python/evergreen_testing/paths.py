"""Folders and files of the repository."""

from pathlib import Path

ROOT = Path(__file__).parents[3]
MODELS = ROOT / "models"
CUSTOMERS = MODELS / "customers.parquet"
SCRIPTS = ROOT / "tests" / "python" / "scripts"

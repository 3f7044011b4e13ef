"""The recipes of docs/engines.md as they stand there, against XGBoost's own bits."""

import re
import shutil

import dask.dataframe as dd
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evergreen_testing.paths import MODELS, ROOT
from evergreen_testing.sample_customers import FRAME, ID, library_scores


def recipe(engine):
    """Returns the code of the recipe of an engine."""
    blocks = re.findall(r"```python\n(# .*?)```", (ROOT / "docs/engines.md").read_text(), re.DOTALL)
    [code] = [block for block in blocks if block.startswith(f"# {engine}")]
    return code


@pytest.fixture
def customers(tmp_path, monkeypatch):
    """A folder with customers in several files and row groups, and the sample's model."""
    (tmp_path / "customers").mkdir()
    table = pa.Table.from_pandas(FRAME, preserve_index=False)
    third = len(FRAME) // 3
    for part in range(4):
        rows = table.slice(part * third, third)
        pq.write_table(rows, tmp_path / f"customers/part-{part}.parquet", row_group_size=400)
    shutil.copytree(MODELS / "churn/1", tmp_path / "models/churn/4")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("engine", ["Polars", "DuckDB", "Dask"])
def test_a_recipe_gives_the_librarys_bits(scorer_class, customers, engine):
    names = {
        "Scorer": scorer_class,
        "scorer": scorer_class.load("models/churn/4"),
        "dd": dd,
        "duckdb": duckdb,
        "pa": pa,
        "pd": pd,
        "pl": pl,
    }
    exec(recipe(engine), names)
    scores = pd.read_parquet("scores" if engine == "Dask" else "scores.parquet")
    assert sorted(scores[ID]) == sorted(FRAME[ID])
    truth = library_scores().loc[scores[ID].astype(str)].to_numpy()
    found = scores["score"].to_numpy(dtype=np.float32)
    assert (found.view(np.uint32) == truth.view(np.uint32)).all()
    bands = np.select([truth >= 0.3, truth >= 0.1], ["high", "medium"], "low")
    assert scores["band"].tolist() == bands.tolist()
    if engine == "DuckDB":
        # In the order of the query.
        assert scores[ID].tolist() == FRAME[ID].tolist()

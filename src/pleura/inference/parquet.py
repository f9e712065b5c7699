"""predictions.csv -> predictions.parquet, in a process of its own that imports little else.

While polars works, Ctrl-C kills a process outright, so the one that holds the model never does it;
and what this module imports is waited for at the end of every job, however small.
"""

import json


def convert_table(table: str, path: str, columns: str, made_with: str) -> None:
    """Write the rows of a CSV as Parquet, typed, with more columns of one value each.

    Args:
        table: The CSV.
        path: Where the Parquet file is to be.
        columns: JSON: each column's name and whether it holds ``text``, ``number`` or ``count``.
        made_with: JSON: the columns that are the same in every row.
    """
    import polars as pl

    kinds = {"text": pl.String(), "number": pl.Float64(), "count": pl.Int64()}
    types = {name: kinds[kind] for name, kind in json.loads(columns).items()}
    rows = pl.scan_csv(table, schema=types, glob=False)
    rows = rows.with_columns(pl.col(pl.String()).fill_null(""))
    same = json.loads(made_with)
    rows.with_columns(pl.lit(value).alias(name) for name, value in same.items()).sink_parquet(path)

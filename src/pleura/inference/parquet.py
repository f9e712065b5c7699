"""predictions.csv -> predictions.parquet, in a process of its own that imports little else.

While polars works, Ctrl-C kills a process outright, so the one that holds the model never does it;
and what this module imports is waited for at the end of every job, however small.
"""

import json
from typing import TextIO


def convert_when_told(orders: TextIO) -> None:
    """Write the rows of a CSV as Parquet, typed, with more columns of one value each.

    Args:
        orders: One JSON object, once there is something to do: ``table`` (the CSV), ``path`` (where
            the Parquet file is to be), ``columns`` (each one's name and whether it holds ``text``,
            ``number`` or ``count``), and ``made_with`` (the columns that are the same in every
            row). It ends without one where nothing is to be done.
    """
    import polars as pl  # while the one who gives the orders works

    told = orders.read()
    if not told:
        return
    order = json.loads(told)
    kinds = {"text": pl.String(), "number": pl.Float64(), "count": pl.Int64()}
    types = {name: kinds[kind] for name, kind in order["columns"].items()}
    rows = pl.scan_csv(order["table"], schema=types, glob=False)
    rows = rows.with_columns(pl.col(pl.String()).fill_null(""))
    same = (pl.lit(value).alias(name) for name, value in order["made_with"].items())
    rows.with_columns(same).sink_parquet(order["path"])

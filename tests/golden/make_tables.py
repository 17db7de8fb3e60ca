"""Training rows as Parquet files, one for each compression that is read and brotli, which is not, and as JSON Lines.

    python tests/golden/make_tables.py        # needs pyarrow

Two row groups, pages of a few rows, dictionaries, nulls, nested lists: what libraries write for chats."""

import json
import pathlib

import pyarrow as pa
import pyarrow.parquet as pq

HERE = pathlib.Path(__file__).parent / "tables"
HERE.mkdir(exist_ok=True)

rows = []
for n in range(40):
    rows.append(
        {
            "messages": [
                {"role": "system", "content": "Answer briefly.", "name": None},
                {"role": "user", "content": f"What is {n} + {n * n}? 多少？", "name": None if n % 3 else "ann"},
                {"role": "assistant", "content": str(n + n * n), "name": None},
            ][n % 2 :],
            "source": ["web", "book", None][n % 3],
            "score": n / 4,
            "rank": n,
            "kept": n % 5 == 0,
            "tags": ["a", "b"][: n % 3],
        }
    )

turn = pa.struct([("role", pa.string()), ("content", pa.string()), ("name", pa.string())])
schema = pa.schema(
    [
        ("messages", pa.list_(turn)),
        ("source", pa.string()),
        ("score", pa.float64()),
        ("rank", pa.int32()),
        ("kept", pa.bool_()),
        ("tags", pa.list_(pa.string())),
    ]
)
table = pa.Table.from_pylist(rows, schema=schema)
for codec in ["none", "snappy", "gzip", "zstd", "lz4", "brotli"]:
    pq.write_table(table, HERE / f"{codec}.parquet", compression=codec, row_group_size=25, data_page_size=512, store_schema=False)
(HERE / "rows.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))

"""Reads what a sink wrote with a reader that is not ours, and prints its rows as JSON lines.

    readers.py READER FORMAT PLACE [--columns JSON] [--directories] [--commits NAME]

READER   duckdb, pyarrow, fastavro or delta
FORMAT   parquet, json or csv; avro for the reader fastavro, delta for the reader delta
PLACE    a directory, or s3://bucket/prefix; then AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
         AWS_REGION and AWS_ENDPOINT_URL are in the environment

--columns      {"NAME": "TYPE"}, types in DuckDB's words: what the columns of a text format are
--directories  columns of directories (dt=2026-11-24/), as text, beside those of the files
--commits      only the files that _commits/NAME/*.json list, whose numbers must have no gap

The first line has the columns' types as the reader found them; then comes a line for each row. Both
are the same for the same table, whoever reads it: types have Kappa's names, and a value is

    a number, true or false, text, null           INT, BIGINT, DOUBLE, BOOLEAN, STRING, NULL
    "1.50"                                        DECIMAL
    "2026-11-24", "18:05:00.000000", joined by T  DATE, TIME, TIMESTAMP
    "01ff"                                        BYTES
    [...], {...}                                  ARRAY, MAP and STRUCT

A table becomes Arrow's before it is printed; decoding files, text and directories is the reader's.
"""

import argparse
import json
import os
import sys
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.dataset as ds
import pyarrow.json
from pyarrow import fs

ENDINGS = {"parquet": (".parquet",), "json": (".jsonl",), "csv": (".csv",), "avro": (".avro",)}
# What reads one format, which nobody else does.
ONLY = {"delta": "delta", "fastavro": "avro"}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("reader", choices=["duckdb", "pyarrow", "fastavro", "delta"])
    parser.add_argument("format", choices=["parquet", "json", "csv", "avro", "delta"])
    parser.add_argument("place")
    parser.add_argument("--columns", type=json.loads, default={})
    parser.add_argument("--directories", action="store_true")
    parser.add_argument("--commits")
    asked = parser.parse_args()
    if ONLY.get(asked.reader) != (asked.format if asked.format in ONLY.values() else None):
        parser.error(f"{asked.reader} does not read {asked.format}")
    if asked.reader == "delta":
        table = read_delta(asked)
    else:
        store, root = store_of(asked.place)
        paths = committed(store, root, asked) if asked.commits else listed(store, root, asked)
        table = FILES[asked.reader](asked, store, root, paths)
    names = table.column_names
    print(json.dumps({name: type_name(table.schema.field(name).type) for name in names}))
    columns = [[plain(cell, column.type) for cell in column.to_pylist()] for column in table.columns]
    for row in zip(*columns, strict=True):
        print(json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False))


# ---- files -----------------------------------------------------------------------------------


def store_of(place):
    if not place.startswith("s3://"):
        return fs.LocalFileSystem(), os.path.abspath(place)
    endpoint = os.environ.get("AWS_ENDPOINT_URL", "")
    store = fs.S3FileSystem(
        region=os.environ.get("AWS_REGION"),
        endpoint_override=endpoint.split("://")[-1] or None,
        scheme=endpoint.split("://")[0] or "https",
    )
    return store, place.removeprefix("s3://").rstrip("/")


def listed(store, root, asked):
    """All files of rows, as somebody finds them who lists the place."""
    selector = fs.FileSelector(root, recursive=True, allow_not_found=True)
    paths = [info.path for info in store.get_file_info(selector) if info.is_file]
    rows = [path for path in paths if any(end in path for end in ENDINGS[asked.format])]
    return sorted(path for path in rows if "/_" not in path.removeprefix(root))


def committed(store, root, asked):
    """The files that the commit objects list, in their order."""
    selector = fs.FileSelector(f"{root}/_commits/{asked.commits}")
    objects = sorted(info.path for info in store.get_file_info(selector))
    units = []
    for path in objects:
        with store.open_input_file(path) as file:
            units.append(json.loads(file.read()))
    numbers = [unit["unit"] for unit in units]
    if numbers != list(range(1, len(units) + 1)):
        sys.exit(f"the commit objects have numbers {numbers}")
    return [f"{root}/{file['path']}" for unit in units for file in unit["files"]]


# ---- readers ---------------------------------------------------------------------------------


def read_duckdb(asked, store, root, paths):
    import duckdb

    connection = duckdb.connect()
    connection.sql("SET TimeZone = 'UTC'")
    scheme = ""
    if isinstance(store, fs.S3FileSystem):
        # DuckDB's own access to S3 is an extension, which it would download.
        from fsspec.implementations.arrow import ArrowFSWrapper

        connection.register_filesystem(ArrowFSWrapper(store))
        scheme = "s3://"
    options = [f"hive_partitioning = {asked.directories}"]
    if asked.directories:
        options.append("hive_types_autocast = false")
    if asked.format == "json":
        options.append("format = 'newline_delimited'")
    if asked.format == "csv":
        options.append("header = true")
    if asked.columns:
        columns = ", ".join(f"{identifier(n)}: {quoted(t)}" for n, t in asked.columns.items())
        # By name: `columns` of read_csv would go by place.
        option = "types" if asked.format == "csv" else "columns"
        options.append(f"{option} = {{{columns}}}")
    names = ", ".join(quoted(scheme + path) for path in paths)
    sql = f"SELECT * FROM read_{asked.format}([{names}], {', '.join(options)})"
    return connection.sql(sql).to_arrow_table()


def quoted(text):
    return "'" + text.replace("'", "''") + "'"


def identifier(name):
    return '"' + name.replace('"', '""') + '"'


def read_pyarrow(asked, store, root, paths):
    if asked.format == "parquet":
        partitioning = "hive" if asked.directories else None
        data = ds.dataset(paths, filesystem=store, partition_base_dir=root, partitioning=partitioning)
        table = data.to_table()
        for name in data.partitioning.schema.names if asked.directories else []:
            index = table.schema.get_field_index(name)
            table = table.set_column(index, name, table[name].cast(pa.string()))
        return table
    # Its datasets take no text that is compressed with Zstandard; its streams do.
    schema = arrow_schema(asked.columns)
    tables = []
    for path in paths:
        with store.open_input_stream(path) as stream:
            table = (read_json if asked.format == "json" else read_csv)(stream, schema)
        for name, value in directories(path.removeprefix(root)) if asked.directories else []:
            table = table.append_column(name, pa.array([value] * len(table), pa.string()))
        tables.append(table)
    return pa.concat_tables(tables)


def directories(path):
    pairs = [part.partition("=") for part in path.split("/")[:-1] if "=" in part]
    none = "__HIVE_DEFAULT_PARTITION__"
    return [(name, None if value == none else unquote(value)) for name, _, value in pairs]


def read_csv(stream, schema):
    return pyarrow.csv.read_csv(
        stream,
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=schema, strings_can_be_null=True, quoted_strings_can_be_null=False
        ),
    )


def read_json(stream, schema):
    # It knows no maps, and neither dates nor times as text: those are cast afterwards.
    given = [text_for(field) for field in schema if not pa.types.is_map(field.type)]
    parse = pyarrow.json.ParseOptions(explicit_schema=pa.schema(given))
    table = pyarrow.json.read_json(stream, parse_options=parse)
    for field in schema:
        index = table.schema.get_field_index(field.name)
        table = table.set_column(index, field, cast(table[field.name], field.type))
    return table


def arrow_schema(columns):
    """DuckDB's names of types as Arrow's types."""
    if not columns:
        return pa.schema([])
    import duckdb

    empty = ", ".join(f"NULL::{t} AS {identifier(n)}" for n, t in columns.items())
    return duckdb.sql(f"SELECT {empty}").to_arrow_table().schema


def text_for(field):
    text = pa.types.is_date(field.type) or pa.types.is_time(field.type)
    return pa.field(field.name, pa.string()) if text else field


def cast(column, wanted):
    if pa.types.is_time(wanted):
        moments = pc.binary_join_element_wise("1970-01-01T", column, "")
        return pc.cast(pc.cast(moments, pa.timestamp("us")), wanted)
    if not pa.types.is_map(wanted):
        return pc.cast(column, wanted)
    # Read as a struct, which has all keys of all rows.
    rows = [
        None if row is None else [(key, value) for key, value in row.items() if value is not None]
        for row in column.to_pylist()
    ]
    return pa.chunked_array([pa.array(rows, wanted)])


def read_fastavro(asked, store, root, paths):
    import fastavro

    tables = []
    for path in paths:
        with store.open_input_stream(path) as stream:
            reader = fastavro.reader(stream)
            columns = reader.writer_schema["fields"]
            # A map is a list of pairs to Arrow.
            rows = [{c["name"]: pairs(row[c["name"]], c["type"]) for c in columns} for row in reader]
        schema = pa.schema([(c["name"], arrow_type(c["type"])) for c in columns])
        table = pa.Table.from_pylist(rows, schema)
        for name, value in directories(path.removeprefix(root)) if asked.directories else []:
            table = table.append_column(name, pa.array([value] * len(table), pa.string()))
        tables.append(table)
    return pa.concat_tables(tables)


AVRO_TYPES = {
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "double": pa.float64(),
    "string": pa.string(),
    "bytes": pa.binary(),
    "date": pa.date32(),
    "time-millis": pa.time32("ms"),
    "time-micros": pa.time64("us"),
    "local-timestamp-millis": pa.timestamp("ms"),
    "local-timestamp-micros": pa.timestamp("us"),
}


def unwrapped(avro):
    """The type without NULL, as an object or a name."""
    if isinstance(avro, list):
        (avro,) = [one for one in avro if one != "null"]
    return avro


def arrow_type(avro):
    avro = unwrapped(avro)
    if isinstance(avro, str):
        return AVRO_TYPES[avro]
    kind = avro.get("logicalType", avro["type"])
    if kind == "decimal":
        return pa.decimal128(avro["precision"], avro.get("scale", 0))
    if kind == "array":
        return pa.list_(arrow_type(avro["items"]))
    if kind == "map":
        return pa.map_(pa.string(), arrow_type(avro["values"]))
    if kind == "record":
        return pa.struct([(field["name"], arrow_type(field["type"])) for field in avro["fields"]])
    return arrow_type(kind) if isinstance(kind, dict) else AVRO_TYPES[kind]


def pairs(cell, avro):
    avro = unwrapped(avro)
    if cell is None or isinstance(avro, str):
        return cell
    if avro["type"] == "array":
        return [pairs(one, avro["items"]) for one in cell]
    if avro["type"] == "map":
        return [(key, pairs(value, avro["values"])) for key, value in cell.items()]
    if avro["type"] == "record":
        return {f["name"]: pairs(cell[f["name"]], f["type"]) for f in avro["fields"]}
    return cell


FILES = {"duckdb": read_duckdb, "pyarrow": read_pyarrow, "fastavro": read_fastavro}


def read_delta(asked):
    from deltalake import DeltaTable

    options = None
    if asked.place.startswith("s3://"):
        options = {"AWS_ALLOW_HTTP": "true", "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "false"}
    table = DeltaTable(asked.place, storage_options=options).to_pyarrow_table()
    # Its timestamps are moments: they are told in UTC.
    for index, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type) and field.type.tz == "UTC":
            moments = table.column(index).cast(pa.timestamp(field.type.unit))
            table = table.set_column(index, field.name, moments)
    return table


# ---- types and values ------------------------------------------------------------------------

NAMES = [
    (pa.types.is_boolean, "BOOLEAN"),
    (pa.types.is_int32, "INT"),
    (pa.types.is_int64, "BIGINT"),
    (pa.types.is_float64, "DOUBLE"),
    (pa.types.is_date32, "DATE"),
    (pa.types.is_time, "TIME"),
    (lambda kind: pa.types.is_timestamp(kind) and kind.tz is None, "TIMESTAMP"),
]
TEXT = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
LISTS = (pa.types.is_list, pa.types.is_large_list)


def of(kind, group):
    return any(is_one(kind) for is_one in group)


def type_name(kind):
    if pa.types.is_decimal(kind):
        return f"DECIMAL({kind.precision}, {kind.scale})"
    if pa.types.is_map(kind):
        return f"MAP<{type_name(kind.key_type)}, {type_name(kind.item_type)}>"
    if pa.types.is_struct(kind):
        return f"STRUCT<{', '.join(f'{field.name} {type_name(field.type)}' for field in kind)}>"
    if of(kind, LISTS):
        return f"ARRAY<{type_name(kind.value_type)}>"
    if of(kind, TEXT):
        return "STRING"
    if of(kind, BYTES):
        return "BYTES"
    # A type that is none of Kappa's keeps Arrow's name, and no test expects it.
    return next((name for is_one, name in NAMES if is_one(kind)), str(kind))


def plain(cell, kind):
    if cell is None:
        return None
    if pa.types.is_map(kind):
        return {key: plain(value, kind.item_type) for key, value in cell}
    if pa.types.is_struct(kind):
        return {field.name: plain(cell[field.name], field.type) for field in kind}
    if of(kind, LISTS):
        return [plain(one, kind.value_type) for one in cell]
    if of(kind, BYTES):
        return cell.hex()
    if pa.types.is_decimal(kind):
        return format(cell, "f")
    if pa.types.is_date(kind):
        return cell.isoformat()
    if pa.types.is_time(kind) or pa.types.is_timestamp(kind):
        return cell.isoformat(timespec="microseconds")
    return cell


main()
# Arrow's threads may still let go of deltalake's files, which are Python's objects. A thread that wants the
# interpreter while it ends is unwound through C++ that allows no exception, and that aborts the process
# (about one run in fifty beside seven others). Everything is said: the interpreter need not end.
sys.stdout.flush()
os._exit(0)

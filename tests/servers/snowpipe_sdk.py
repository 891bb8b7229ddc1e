"""Sends rows by Snowflake's own client: snowpipe_sdk.py HOST PORT ACCOUNT USER KEY_FILE CHANNEL FIRST LAST

Opens the channel of the default pipe of table KAPPA.PUBLIC.T, prints its last committed offset token,
appends the rows with the ids FIRST up to, not including, LAST (each its own offset token), waits until
the last is committed, and prints the channel's status, a value a line.
"""

import json
import sys

from snowflake.ingest.streaming import StreamingIngestClient

host, port, account, user, key_file, name, first, last = sys.argv[1:]
with open(key_file, encoding="ascii") as file:
    key = "".join(line for line in file.read().splitlines() if "-----" not in line)
client = StreamingIngestClient(
    client_name="kappa-tests",
    db_name="KAPPA",
    schema_name="PUBLIC",
    pipe_name="T-STREAMING",
    properties={
        "scheme": "http",
        "host": host,
        "port": port,
        "url": f"http://{host}:{port}",
        "account": account,
        "user": user,
        "private_key": key,
    },
)
channel, status = client.open_channel(name)
print(json.dumps(status.latest_committed_offset_token))
for n in range(int(first), int(last)):
    channel.append_row({"ID": n, "NAME": f"row {n}" if n % 5 else None}, str(n))
channel.wait_for_commit(
    lambda token: token is not None and int(token) >= int(last) - 1, timeout_seconds=30
)
status = channel.get_channel_status()
print(json.dumps(status.latest_committed_offset_token))
print(json.dumps(status.rows_inserted_count))
print(json.dumps(status.rows_error_count))
channel.close()
client.close()

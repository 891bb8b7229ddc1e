"""Sends rows by Snowflake's own client: snowpipe_sdk.py HOST PORT ACCOUNT USER KEY_FILE CHANNEL FIRST LAST FILE

Opens the channel of the default pipe of table KAPPA.PUBLIC.T, appends the rows with the ids FIRST up to,
not including, LAST (each its own offset token), and waits until the last is committed. FILE gets a JSON
array: the channel's last committed offset token before and after, and its numbers of rows inserted and
rejected. (What is printed may stand in the middle of a line that the client logs.)
"""

import json
import sys

from snowflake.ingest.streaming import StreamingIngestClient

host, port, account, user, key_file, name, first, last, out = sys.argv[1:]
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
before = status.latest_committed_offset_token
for n in range(int(first), int(last)):
    channel.append_row({"ID": n, "NAME": f"row {n}" if n % 5 else None}, str(n))
channel.wait_for_commit(
    lambda token: token is not None and int(token) >= int(last) - 1, timeout_seconds=30
)
status = channel.get_channel_status()
after = status.latest_committed_offset_token
with open(out, "w", encoding="utf-8") as file:
    json.dump([before, after, status.rows_inserted_count, status.rows_error_count], file)
channel.close()
client.close()

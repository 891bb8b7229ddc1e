"""fakesnow as a Snowflake server for tests: what it lacks, and failures on demand.

    snowflake_server.py keys DIR         writes the keys of user FAKE, and one that is not his
    snowflake_server.py serve DIR PORT   serves on 127.0.0.1

What is added to fakesnow:
- logins are checked: the key pair's JWT of FAKE (signature, fingerprint, account, times), OAUTH and
  PROGRAMMATIC_ACCESS_TOKEN (the token is `token-of-the-tests`);
- a session has a session token and a master token, which renews it at /session/token-request;
- a request id that was executed is answered from memory, not executed again;
- answers are JSON for who asks `Accept: application/json`, as Snowflake's are;
- COPY INTO: FILES of internal stages, FORCE=FALSE, PURGE=FALSE, FILE_FORMAT options, all files or
  none; CREATE TABLE IF NOT EXISTS keeps the load history of a table that exists;
- MERGE inside a transaction; EXECUTE IMMEDIATE of a block that is one transaction; statements that
  write wait for each other, as for Snowflake's locks;
- REMOVE @stage/path, LIST @stage/path, DROP STAGE database.schema.stage;
- stages on S3, GCS, AZURE and LOCAL_FS, with and without client-side encryption (decrypted by the
  public connector's own code), and credentials that expire.

Failures and settings, JSON by POST:
    /_admin/fault {"match": REGEX, "kind": KIND, "skip": 0, "count": 1, "seconds": 0}
        on the requests whose text matches: a statement's SQL, or "METHOD /path" for the others
        (login, renewal, uploads), after `skip` of them, `count` times:
        lose    carried out, and answered 503          cut     carried out, connection closed
        status  not carried out, answered `status`     expire  session token expired (390112)
        master  that, and the master token too         gone    session lost, transaction undone
        async   answered after `seconds` by getResultUrl
        delay   carried out `seconds` later            fail    fails with `code` and `message`
        expire_credentials     first all credentials for uploads expire
        hang    carried out `seconds` later, and never answered
        lost    not carried out, and never answered
    GET /_admin/hung    answers once a request was not answered for ever: crash the client now
    /_admin/stage {"kind": "PRESIGNED" | "GCS" | "S3" | "AZURE" | "LOCAL_FS", "key_bytes": 0 | 16 | 32}
    /_admin/clock {"seconds": N}     the server's clock is ahead by N
    /_admin/faults                   {"left": N}, the faults that are still to come
    /_admin/reset                    no failures, the usual stage and clock, an empty log
    GET /_admin/log                  [{"text", "executed", "session"}] of all requests so far
"""

import asyncio
import base64
import gzip
import hashlib
import io
import json
import os
import re
import secrets
import sys
import time
from email.utils import formatdate
from pathlib import Path
from urllib.parse import parse_qs, unquote

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

ACCOUNT, USER, TOKEN, PASSPHRASE = "KAPPA-TEST", "FAKE", "token-of-the-tests", b"open sesame"


def write_keys(directory):
    """The private keys in the forms that users have, and the public key of FAKE."""
    pem, private = serialization.Encoding.PEM, serialization.PrivateFormat
    plain = serialization.NoEncryption()
    key, wrong = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
    files = {
        "rsa_key.p8": key.private_bytes(pem, private.PKCS8, plain),
        "rsa_key_encrypted.p8": key.private_bytes(
            pem, private.PKCS8, serialization.BestAvailableEncryption(PASSPHRASE)
        ),
        "rsa_key.pem": key.private_bytes(pem, private.TraditionalOpenSSL, plain),
        "wrong_key.p8": wrong.private_bytes(pem, private.PKCS8, plain),
        "rsa_key.pub": key.public_key().public_bytes(
            pem, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
    }
    for name, content in files.items():
        path = Path(directory, name)
        path.touch(mode=0o600)
        path.write_bytes(content)


if sys.argv[1] == "keys":
    write_keys(sys.argv[2])
    sys.exit()

import duckdb
import fakesnow.copy_into as copy_into
import fakesnow.cursor
import fakesnow.server as fake
import pyarrow as pa
import snowflake.connector.errors
import uvicorn
from fakesnow.transforms import stage
from snowflake.connector.encryption_util import EncryptionMetadata, SnowflakeEncryptionUtil
from snowflake.connector.storage_client import SnowflakeFileEncryptionMaterial
from sqlglot import exp
from starlette.responses import JSONResponse, Response

# ---- fakesnow's statements -------------------------------------------------------------------

plain_source_urls = copy_into._source_urls
plain_params = copy_into._params
plain_copy = fakesnow.cursor.copy_into
plain_execute = fakesnow.cursor.FakeSnowflakeCursor._execute


def source_urls(source, files):
    if not stage.is_internal(source):
        return plain_source_urls(source, files)
    urls = [f"{source.rstrip('/')}/{file}" for file in files]
    for url, file in zip(urls, files):
        if not os.path.exists(url):
            raise snowflake.connector.errors.ProgrammingError(
                msg=f"Remote file '{file}' was not found.", errno=91016, sqlstate="22000"
            )
    return urls


def copy_params(expr, *args, **kwargs):
    """fakesnow takes FORCE=FALSE for FORCE."""

    def is_off(param):
        return param.this.name.upper() in ("FORCE", "PURGE") and (
            str(param.expression).upper() == "FALSE"
        )

    expr.set("params", [p for p in expr.args.get("params", []) if not is_off(p)])
    return plain_params(expr, *args, **kwargs)


def copy(duck_conn, *args, **kwargs):
    """All files or none."""
    try:
        duck_conn.begin()
    except duckdb.TransactionException:
        return plain_copy(duck_conn, *args, **kwargs)
    try:
        sql = plain_copy(duck_conn, *args, **kwargs)
        duck_conn.commit()
    except duckdb.Error as error:
        duck_conn.rollback()
        raise snowflake.connector.errors.ProgrammingError(
            msg=str(error), errno=100038, sqlstate="22018"
        ) from None
    except Exception:
        duck_conn.rollback()
        raise
    duck_conn.execute(sql)
    return sql


def execute(self, transformed, params=None):
    table = transformed.find(exp.Table) if isinstance(transformed, exp.Create) else None
    if table is not None and transformed.args.get("kind") == "TABLE":
        if table.name.upper() == "MERGE_CANDIDATES":
            # fakesnow would also forget that table's load history, in another database.
            self._duck_conn.execute(transformed.sql(dialect="duckdb"))
            return None
        if transformed.args.get("exists") and self._duck_conn.execute(
            "SELECT 1 FROM information_schema.tables"
            " WHERE table_catalog = ? AND table_schema = ? AND table_name = ?",
            [table.catalog or self._conn.database, table.db or self._conn.schema, table.name],
        ).fetchone():
            existing = f"SELECT '{table.name} already exists, statement succeeded.' AS status"
            return plain_execute(self, exp.maybe_parse(existing, dialect="duckdb"))
    return plain_execute(self, transformed, params)


def table_columns(table, duck_conn, database, schema):
    """fakesnow's are in upper case, as if no name were ever quoted."""
    return [name for name, _ in copy_into._describe_table(table, duck_conn, database, schema)]


def match_columns(parquet_columns, target_columns, mode):
    if mode == copy_into.MatchByColumnName.CASE_SENSITIVE:
        return {column: column for column in target_columns if column in parquet_columns}
    by_upper = {column.upper(): column for column in parquet_columns}
    return {c: by_upper[c.upper()] for c in target_columns if c.upper() in by_upper}


copy_into._source_urls = source_urls
copy_into._get_table_columns = table_columns
copy_into._match_parquet_columns = match_columns
copy_into._params = copy_params
fakesnow.cursor.copy_into = copy
fakesnow.cursor.FakeSnowflakeCursor._execute = execute

# ---- logins and sessions ---------------------------------------------------------------------

directory, port = Path(sys.argv[2]), int(sys.argv[3])
public_key = serialization.load_pem_public_key((directory / "rsa_key.pub").read_bytes())


class State:
    """What the admin requests set, and what there is to see."""

    def __init__(self):
        self.faults = []
        self.stage = {"kind": "PRESIGNED", "key_bytes": 0}
        self.clock = 0
        self.log = []
        self.hung = asyncio.Event()


state = State()
stage_keys = {}  # length -> the key of that many bytes that wraps the keys of files


class Session:
    """A session of fakesnow's behind tokens that expire."""

    def __init__(self, inner):
        self.inner = inner
        self.id = secrets.randbelow(1 << 48)
        self.master = secrets.token_urlsafe(24)
        self.token = secrets.token_urlsafe(24)
        self.expired = False
        self.master_expired = False
        self.answers = {}  # request id -> the future of its answer
        self.lock = asyncio.Lock()


sessions = []
lock = asyncio.Lock()  # who holds it writes


def session_of(token):
    return next((s for s in sessions if s.token == token), None)


def end_session(session):
    fake.sessions.pop(session.inner, None)
    if session in sessions:
        sessions.remove(session)


def check_jwt(token):
    header, payload, signature = token.split(".")

    def decode(part):
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))

    claims, now = json.loads(decode(payload)), time.time() + state.clock
    der = public_key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    fingerprint = base64.b64encode(hashlib.sha256(der).digest()).decode()
    assert json.loads(decode(header))["alg"] == "RS256", "alg"
    assert claims["sub"] == f"{ACCOUNT}.{USER}", "sub"
    assert claims["iss"] == f"{ACCOUNT}.{USER}.SHA256:{fingerprint}", "iss"
    assert claims["iat"] <= now + 30 and now < claims["exp"] <= claims["iat"] + 3600, "exp"
    public_key.verify(
        decode(signature), f"{header}.{payload}".encode(), padding.PKCS1v15(), hashes.SHA256()
    )


def check_login(data):
    """None, or the code and message of the refusal."""
    kind = data.get("AUTHENTICATOR")
    if kind == "SNOWFLAKE_JWT":
        try:
            check_jwt(data["TOKEN"])
        except Exception as error:
            print("JWT refused:", repr(error), flush=True)
            return "390144", "JWT token is invalid. [0ce9eb56-821d-4ca9-a774-04ae89a0cf5a]"
    elif kind == "OAUTH":
        if data.get("TOKEN") != TOKEN:
            return "390303", "Invalid OAuth access token. [0ce9eb56]"
    elif kind == "PROGRAMMATIC_ACCESS_TOKEN":
        if data.get("TOKEN") != TOKEN or data.get("LOGIN_NAME") != USER:
            return "394400", "Programmatic access token is invalid."
    else:
        return "390100", "Incorrect username or password was specified."
    return None


# ---- answers ---------------------------------------------------------------------------------


def refusal(code, message, status=200):
    return JSONResponse(
        {"data": {"errorCode": code}, "code": code, "message": message, "success": False}, status
    )


def table(names, rows, type_id=0x1000):
    return JSONResponse(
        {
            "data": {
                "rowtype": [{"name": name, "type": "text", "nullable": True} for name in names],
                "rowset": rows,
                "total": len(rows),
                "returned": len(rows),
                "queryId": secrets.token_hex(16),
                "queryResultFormat": "json",
                "statementTypeId": type_id,
            },
            "code": None,
            "message": None,
            "success": True,
        }
    )


def cell(value):
    """A value as in Snowflake's JSON answers."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, dict):
        return f"{value['epoch']}.{value['fraction']:09}"
    if isinstance(value, bytes):
        return value.hex().upper()
    if hasattr(value, "toordinal"):
        return str(value.toordinal() - 719163)
    return str(value)


def as_json(body):
    """fakesnow answers a SELECT in Arrow whatever was asked for."""
    data = body.get("data") or {}
    if data.get("queryResultFormat") == "arrow":
        rows = []
        if encoded := data.pop("rowsetBase64"):
            read = pa.ipc.open_stream(base64.b64decode(encoded)).read_all()
            rows = [
                [cell(v) for v in row] for row in zip(*[c.to_pylist() for c in read.columns])
            ]
        data.update(rowset=rows, queryResultFormat="json", returned=len(rows))
    return body


# ---- stages ----------------------------------------------------------------------------------


def stage_path(reference):
    """The directory of @stage/path, and the name of the stage as LIST writes it."""
    name, _, path = reference.lstrip("@").partition("/")
    parts = [part.strip('"') if part.startswith('"') else part.upper() for part in name.split(".")]
    root = Path(stage.LOCAL_BUCKET_PATH, *parts)
    return root, path, parts[-1].lower()


def staged_files(reference):
    root, prefix, name = stage_path(reference)
    for file in sorted(root.rglob("*")):
        path = str(file.relative_to(root))
        if file.is_file() and path.startswith(prefix):
            yield file, f"{name}/{path}"


def list_stage(reference):
    rows = []
    for file, name in staged_files(reference):
        content = file.read_bytes()
        changed = formatdate(file.stat().st_mtime, usegmt=True)
        rows.append([name, str(len(content)), hashlib.md5(content).hexdigest(), changed])
    return table(["name", "size", "md5", "last_modified"], rows)


def remove_stage(reference):
    rows = []
    for file, name in list(staged_files(reference)):
        file.unlink()
        rows.append([name, "removed"])
    return table(["name", "result"], rows)


def stage_info(body, sql):
    """The answer to a PUT, for the kind of storage that was asked for."""
    kind, key_bytes = state.stage["kind"], state.stage["key_bytes"]
    data = body["data"]
    file = os.path.basename(re.search(r"'file://([^']*)'", sql).group(1))
    reference = re.search(r"(@\S+)", sql).group(1)
    root, path, _ = stage_path(reference)
    below = str((root / path).relative_to(stage.LOCAL_BUCKET_PATH))
    base = f"http://127.0.0.1:{port}"
    creds = secrets.token_hex(8)
    credentials.add(creds)
    info = {"location": f"bucket/{below}/", "locationType": kind, "region": "us-west-2"}
    info["isClientSideEncrypted"] = bool(key_bytes)
    if kind == "PRESIGNED":
        info.update(locationType="GCS", presignedUrl=f"{base}/_storage/{creds}/bucket/{below}/{file}")
        info["creds"] = {}
    elif kind == "GCS":
        info.update(endPoint=f"{base}/_storage", creds={"GCS_ACCESS_TOKEN": creds})
    elif kind == "S3":
        info.update(endPoint=f"{base}/_storage", creds={
            "AWS_KEY_ID": "id", "AWS_SECRET_KEY": "secret", "AWS_TOKEN": creds})
    elif kind == "AZURE":
        info.update(storageAccount="account", endPoint=f"{base}/_storage",
                    creds={"AZURE_SAS_TOKEN": f"?sv=2024&sig={creds}"})
    else:
        info.update(location=f"{root / path}/", creds={})
    data["stageInfo"] = info
    if key_bytes:
        fresh = base64.b64encode(secrets.token_bytes(key_bytes)).decode()
        data["encryptionMaterial"] = {
            "queryStageMasterKey": stage_keys.setdefault(key_bytes, fresh),
            "queryId": f"01b0-{secrets.token_hex(4)}",
            "smkId": 34577,
        }
    return body


credentials = set()


async def storage(scope, body):
    """Object storage of all kinds: what is uploaded is decrypted and goes where COPY reads it."""
    headers = {k.decode().lower(): v.decode() for k, v in scope["headers"]}
    query = {k: v[0] for k, v in parse_qs(scope["query_string"].decode()).items()}
    parts = unquote(scope["path"]).split("/")[2:]
    presigned = parts[0] != "bucket"
    if presigned:
        token = parts.pop(0)
    elif "sig" in query:
        token = query["sig"]
    else:
        token = headers.get("x-amz-security-token") or headers.get("authorization", "")[7:]
    if token not in credentials:
        expired = b"<Error><Code>ExpiredToken</Code><Message>expired</Message></Error>"
        return Response(expired, 400 if presigned or "x-amz-security-token" in headers else 403)
    target = Path(os.path.normpath(Path(stage.LOCAL_BUCKET_PATH, *parts[1:])))
    assert target.is_relative_to(stage.LOCAL_BUCKET_PATH)
    if scope["method"] == "HEAD":
        if not target.exists():
            return Response(status_code=404)
        modified = formatdate(target.stat().st_mtime, usegmt=True)
        size = str(target.stat().st_size)
        return Response(headers={"content-length": size, "etag": '"1"', "last-modified": modified})
    assert scope["method"] == "PUT", scope["method"]

    def meta(name):
        found = (headers.get(p + name) for p in ("x-amz-meta-", "x-goog-meta-", "x-ms-meta-"))
        return next((value for value in found if value is not None), None)

    key_bytes = state.stage["key_bytes"]
    if key_bytes:
        if meta("x-amz-key"):
            wrapped, iv = meta("x-amz-key"), meta("x-amz-iv")
        else:
            described = json.loads(meta("encryptiondata"))
            wrapped = described["WrappedContentKey"]["EncryptedKey"]
            iv = described["ContentEncryptionIV"]
        described = json.loads(meta("x-amz-matdesc") or meta("matdesc"))
        assert described["smkId"] == "34577", described
        assert described["keySize"] == str(key_bytes * 8), described
        body = decrypt(body, wrapped, iv, stage_keys[key_bytes])
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    azure = "sig" in query
    assert meta("sfcdigest" if azure else "sfc-digest") == digest, "digest"
    assert not azure or headers["x-ms-blob-type"] == "BlockBlob"
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    part.write_bytes(body)
    part.replace(target)
    return Response(status_code=201 if azure else 200, headers={"etag": '"1"'})


def decrypt(body, wrapped, iv, key):
    material = SnowflakeFileEncryptionMaterial(
        query_stage_master_key=key, query_id="", smk_id=34577
    )
    metadata, out = EncryptionMetadata(key=wrapped, iv=iv, matdesc=""), io.BytesIO()
    SnowflakeEncryptionUtil.decrypt_stream(metadata, material, io.BytesIO(body), out)
    return out.getvalue()


# ---- requests --------------------------------------------------------------------------------

WRITES = re.compile(r"\s*(INSERT|UPDATE|DELETE|MERGE|COPY|TRUNCATE|CREATE|DROP|ALTER|EXECUTE)\b", re.I)
DROP_STAGE = re.compile(r"DROP STAGE (\w+)\.(\w+)\.(\w+)")
BLOCK = re.compile(
    r"EXECUTE IMMEDIATE \$\$\nBEGIN\nBEGIN TRANSACTION;\n(.*;)\nCOMMIT;\nRETURN 'done';\n"
    r"EXCEPTION\nWHEN OTHER THEN\nROLLBACK;\nRAISE;\nEND;\n\$\$",
    re.S,
)


async def call_fake(scope, body, session=None):
    """fakesnow's answer: status and JSON."""
    headers = [(k, v) for k, v in scope["headers"] if k not in (b"authorization",)]
    if session is not None:
        headers.append((b"authorization", f'Snowflake Token="{session.inner}"'.encode()))
    sent, status, parts = False, 500, []

    async def receive():
        nonlocal sent
        if sent:
            await asyncio.sleep(3600)
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        elif message["type"] == "http.response.body":
            parts.append(message.get("body", b""))

    await fake.app({**scope, "headers": headers}, receive, send)
    return status, b"".join(parts)


async def login(scope, body):
    request = json.loads(body)
    refused = check_login(request["data"])
    if refused:
        return refusal(*refused)
    request["data"].setdefault("SESSION_PARAMETERS", {})
    status, answer = await call_fake(scope, json.dumps(request).encode())
    answer = json.loads(answer)
    session = Session(answer["data"]["token"])
    sessions.append(session)
    answer["data"].update(
        token=session.token, masterToken=session.master, validityInSeconds=3600,
        masterValidityInSeconds=14400, sessionId=session.id,
    )
    answer.update(code=None, message=None)
    return JSONResponse(answer, status)


def renew(master, body):
    session = next((s for s in sessions if s.master == master), None)
    if session is None:
        return refusal("390113", "Master token not found. Must login again.")
    if session.master_expired:
        return refusal("390114", "Authentication token has expired. The user must authenticate again.")
    request = json.loads(body)
    assert request["requestType"] == "RENEW" and request["oldSessionToken"] == session.token
    session.token, session.master = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    session.expired = False
    return JSONResponse(
        {
            "data": {
                "sessionToken": session.token, "validityInSecondsST": 3600,
                "masterToken": session.master, "validityInSecondsMT": 14400,
                "sessionId": session.id,
            },
            "code": None, "message": None, "success": True,
        }
    )


async def execute_sql(scope, body, session, sql):
    command = sql.split()[0].upper()
    if command == "LIST":
        return list_stage(sql.split()[1])
    if command == "REMOVE":
        return remove_stage(sql.split()[1])
    if drop := DROP_STAGE.fullmatch(sql):
        return await drop_stage(scope, session, *drop.group(1, 2, 3))
    if not WRITES.match(sql):
        return await answer_of(scope, session, sql)
    async with lock:
        if command == "EXECUTE":
            return await execute_block(scope, session, sql)
        return await answer_of(scope, session, sql)


async def drop_stage(scope, session, database, schema, name):
    """With its files."""
    remove_stage(f"@{database}.{schema}.{name}")
    return await answer_of(
        scope, session,
        "DELETE FROM _fs_global._fs_information_schema._fs_stages "
        f"WHERE database_name = '{database}' AND schema_name = '{schema}' AND name = '{name}'",
    )


async def execute_block(scope, session, sql):
    """A transaction: all statements or none."""
    found = BLOCK.fullmatch(sql)
    if found is None:
        return refusal("001003", "SQL compilation error: syntax error in the block")
    await answer_of(scope, session, "BEGIN TRANSACTION")
    for statement in found.group(1).split(";\n"):
        answer = await answer_of(scope, session, statement.rstrip(";"))
        if not json.loads(answer.body)["success"]:
            await answer_of(scope, session, "ROLLBACK")
            return answer
    await answer_of(scope, session, "COMMIT")
    return table(["anonymous block"], [["done"]])


async def answer_of(scope, session, sql):
    status, answer = await call_fake(scope, json.dumps({"sqlText": sql}).encode(), session)
    answer = json.loads(answer)
    if sql.split()[0].upper() == "PUT" and answer.get("success"):
        answer = stage_info(answer, sql)
    answer.setdefault("code", None)
    answer.setdefault("message", None)
    return JSONResponse(as_json(answer), status)


async def query(scope, body, token):
    """A statement of a session, with the faults that were asked for."""
    arguments = parse_qs(scope["query_string"].decode())
    sql = json.loads(body)["sqlText"].strip()
    session = session_of(token)
    fault = take_fault(sql)
    kind = fault and fault["kind"]
    entry = {"text": sql, "executed": False, "session": session and session.id}
    state.log.append(entry)
    if session is None:
        return refusal("390111", "Session no longer exists. New login required to access the service.")
    if kind in ("expire", "master"):
        session.expired, session.master_expired = True, kind == "master"
    if kind == "gone":
        end_session(session)
        return refusal("390111", "Session no longer exists. New login required to access the service.")
    if session.expired:
        return refusal("390112", "Your session has expired. Please login again.")
    if kind == "status":
        return Response(status_code=fault["status"])
    if kind == "fail":
        return refusal(fault["code"], fault["message"])
    if kind == "lost":
        await never()
    request_id = arguments["requestId"][0]
    if (answer := session.answers.get(request_id)) is None:
        answer = asyncio.ensure_future(carry_out(scope, body, session, sql, entry, fault))
        session.answers[request_id] = answer
    if kind == "hang":
        if not fault["seconds"]:
            await asyncio.shield(answer)
        await never()
    if kind == "async":
        handle = secrets.token_hex(8)
        results[handle] = answer
        progress = {"getResultUrl": f"/queries/{handle}/result", "queryId": handle}
        return JSONResponse(
            {"data": progress, "code": "333334", "message": "in progress", "success": True}
        )
    answer = await asyncio.shield(answer)
    if kind == "lose":
        return Response(status_code=503)
    if kind == "cut":
        return None
    return answer


results = {}


async def never():
    state.hung.set()
    await asyncio.sleep(3600)


async def carry_out(scope, body, session, sql, entry, fault):
    if fault and fault["kind"] in ("async", "delay", "hang"):
        await asyncio.sleep(fault["seconds"])
    async with session.lock:
        entry["executed"] = True
        return await execute_sql(scope, body, session, sql)


def take_fault(text):
    for fault in state.faults:
        if fault["count"] > 0 and re.search(fault["match"], text, re.I | re.S):
            if fault["skip"] > 0:
                fault["skip"] -= 1
                continue
            fault["count"] -= 1
            return fault
    return None


async def admin(path, body):
    if path == "health":
        return Response()
    if path == "log":
        return JSONResponse(state.log)
    if path == "hung":
        await state.hung.wait()
        state.hung.clear()
        return JSONResponse({})
    request = json.loads(body or b"{}")
    if path == "fault":
        state.faults.append({"skip": 0, "count": 1, "seconds": 0, **request})
    elif path == "stage":
        state.stage = {"key_bytes": 0, **request}
    elif path == "clock":
        state.clock = request["seconds"]
    elif path == "faults":
        return JSONResponse({"left": sum(fault["count"] for fault in state.faults)})
    elif path == "reset":
        state.__init__()
    else:
        return Response(status_code=404)
    return JSONResponse({})


async def answer_to(scope, body):
    """None cuts the connection."""
    path, method = scope["path"], scope["method"]
    headers = dict(scope["headers"])
    if headers.get(b"content-encoding") == b"gzip":
        body = gzip.decompress(body)
        scope = {**scope, "headers": [h for h in scope["headers"] if h[0] != b"content-encoding"]}
    if path.startswith("/_admin/"):
        return await admin(path.removeprefix("/_admin/"), body)
    token = headers.get(b"authorization", b"").decode()[17:-1]
    if path == "/queries/v1/query-request":
        return await query(scope, body, token)
    fault = take_fault(f"{method} {path}")
    state.log.append({"text": f"{method} {path}", "executed": True, "session": None})
    kind = fault and fault["kind"]
    if kind == "status":
        return Response(status_code=fault["status"])
    if kind == "fail":
        return refusal(fault["code"], fault["message"])
    if kind == "lost":
        await never()
    if kind == "delay":
        await asyncio.sleep(fault["seconds"])
    if kind == "expire_credentials":
        credentials.clear()
    answer = await other(scope, path, body, token)
    if kind == "hang":
        await never()
    if kind == "lose":
        return Response(status_code=503)
    return None if kind == "cut" else answer


async def other(scope, path, body, token):
    """Requests that are no statements."""
    if path == "/session/v1/login-request":
        return await login(scope, body)
    if path == "/session/token-request":
        return renew(token, body)
    if path == "/session":
        if session := session_of(token):
            end_session(session)
        return JSONResponse({"data": None, "code": None, "message": None, "success": True})
    if path == "/queries/v1/abort-request":
        return JSONResponse({"data": None, "code": None, "message": None, "success": True})
    if path.startswith("/queries/"):
        return await result(path, token)
    if path.startswith("/_storage/"):
        return await storage(scope, body)
    return Response(status_code=404)


async def result(path, token):
    """What came of a statement that was answered before it was done."""
    handle = path.split("/")[2]
    session, future = session_of(token), results.get(handle)
    if session is None or future is None:
        return refusal("390111", "Session no longer exists.")
    if session.expired:
        return refusal("390112", "Your session has expired. Please login again.")
    try:
        return await asyncio.wait_for(asyncio.shield(future), 0.3)
    except TimeoutError:
        data = {"getResultUrl": path, "queryId": handle}
        return JSONResponse(
            {"data": data, "code": "333333", "message": "in progress", "success": True}
        )


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    # A client that goes away does not stop what it asked for.
    answer = await asyncio.shield(asyncio.ensure_future(answer_to(scope, body)))
    if answer is None:
        raise RuntimeError("the connection is cut, as asked")
    answer.headers["date"] = formatdate(time.time() + state.clock, usegmt=True)
    await answer(scope, receive, send)


uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", lifespan="off", date_header=False)

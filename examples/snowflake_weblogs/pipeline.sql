-- Web server logs from a topic into a table of Snowflake, and as files into S3 and Google Cloud
-- Storage, from one stream. README.md beside this file says how to run it and what the variables
-- ${…} stand for; `kappa -d NAME=VALUE … run pipeline.sql` sets them, too.

-- Lines as the servers write them, one a record, fields separated by blanks:
-- date time c-ip cs-username s-sitename s-computername s-ip s-port cs-method cs-uri-stem
-- cs-uri-query sc-status time-taken cs-version cs-host User-Agent Referer
CREATE STREAM RAW_LOGS (LINE STRING)
  WITH (KAFKA_TOPIC = '${TOPIC}', VALUE_FORMAT = 'KAFKA', PARTITIONS = 2);

-- Split and cast. A line's own time becomes the row's time. Lines with # are the log's own headers.
CREATE STREAM LOGS
  WITH (KAFKA_TOPIC = '${TOPIC}-split', VALUE_FORMAT = 'JSON', TIMESTAMP = 'TS') AS
  SELECT
    CAST(SPLIT(LINE, ' ')[1] || 'T' || SPLIT(LINE, ' ')[2] AS TIMESTAMP) AS TS,
    SPLIT(LINE, ' ')[3]                        AS C_IP,
    NULLIF(SPLIT(LINE, ' ')[4], '-')           AS CS_USERNAME,
    SPLIT(LINE, ' ')[5]                        AS S_SITENAME,
    SPLIT(LINE, ' ')[6]                        AS S_COMPUTERNAME,
    SPLIT(LINE, ' ')[7]                        AS S_IP,
    CAST(SPLIT(LINE, ' ')[8] AS INT)           AS S_PORT,
    SPLIT(LINE, ' ')[9]                        AS CS_METHOD,
    SPLIT(LINE, ' ')[10]                       AS CS_URI_STEM,
    NULLIF(SPLIT(LINE, ' ')[11], '-')          AS CS_URI_QUERY,
    CAST(SPLIT(LINE, ' ')[12] AS INT)          AS SC_STATUS,
    CAST(SPLIT(LINE, ' ')[13] AS INT)          AS TIME_TAKEN,
    SPLIT(LINE, ' ')[14]                       AS CS_VERSION,
    SPLIT(LINE, ' ')[15]                       AS CS_HOST,
    REPLACE(SPLIT(LINE, ' ')[16], '+', ' ')    AS USER_AGENT,
    NULLIF(SPLIT(LINE, ' ')[17], '-')          AS REFERER
  FROM RAW_LOGS
  WHERE LINE NOT LIKE '#%'
  EMIT CHANGES;

-- Into Snowflake, by the Spark connector's names of options; Kappa's own are in
-- docs/sinks/snowflake.md. COMMIT_INTERVAL is what the trigger's interval is there.
CREATE SINK WEB_LOGS FROM LOGS WITH (
  CONNECTOR       = 'snowflake',
  sfURL           = '${SF_URL}',
  sfUser          = '${SF_USER}',
  sfDatabase      = '${SF_DATABASE}',
  sfSchema        = '${SF_SCHEMA}',
  sfWarehouse     = '${SF_WAREHOUSE}',
  dbtable         = '${SF_TABLE}',
  -- pem_private_key = 'MIIE…' is understood as well. Here the key comes from the process's setting
  -- snowflake.private_key_file, so that it is not kept in the data directory.
  -- streaming_stage = 'LANDING/weblogs' takes an internal stage of yours. Without it the sink makes
  -- one of its own.
  COMMIT_INTERVAL = '${INTERVAL}');

-- The same rows as files, a directory a day. The two sinks have the same options, so the files are
-- encoded once, and are the same in both clouds.
CREATE SINK WEB_LOGS_S3 FROM LOGS WITH (
  CONNECTOR      = 's3',
  PATH           = '${S3_PATH}',
  FORMAT         = 'PARQUET',
  PARTITION_PATH = 'dt={ROWTIME:%Y-%m-%d}',
  ROLL_INTERVAL  = '${INTERVAL}');

CREATE SINK WEB_LOGS_GCS FROM LOGS WITH (
  CONNECTOR      = 'gcs',
  PATH           = '${GCS_PATH}',
  FORMAT         = 'PARQUET',
  PARTITION_PATH = 'dt={ROWTIME:%Y-%m-%d}',
  ROLL_INTERVAL  = '${INTERVAL}');

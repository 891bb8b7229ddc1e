-- Web server logs in the W3C extended format: from raw lines to answers.
-- Runs as it is in the shell: `kappa -d OUT=/tmp/requests -f examples/weblogs/pipeline.sql`.

-- Lines as the servers write them, one a record, fields separated by blanks:
-- date time c-ip cs-username s-sitename s-computername s-ip s-port cs-method cs-uri-stem
-- cs-uri-query sc-status time-taken cs-version cs-host User-Agent Referer
CREATE STREAM RAW_LOGS (LINE STRING)
  WITH (KAFKA_TOPIC = 'weblogs', VALUE_FORMAT = 'KAFKA', PARTITIONS = 2);

-- Split and cast. A line's own time becomes the row's time.
CREATE STREAM LOGS WITH (VALUE_FORMAT = 'JSON', TIMESTAMP = 'TS') AS
  SELECT
    CAST(SPLIT(LINE, ' ')[1] || 'T' || SPLIT(LINE, ' ')[2] AS TIMESTAMP) AS TS,
    SPLIT(LINE, ' ')[3]                        AS C_IP,
    SPLIT(LINE, ' ')[4]                        AS CS_USERNAME,
    SPLIT(LINE, ' ')[5]                        AS S_SITENAME,
    SPLIT(LINE, ' ')[6]                        AS S_COMPUTERNAME,
    SPLIT(LINE, ' ')[9]                        AS CS_METHOD,
    SPLIT(LINE, ' ')[10]                       AS CS_URI_STEM,
    SPLIT(LINE, ' ')[11]                       AS CS_URI_QUERY,
    CAST(SPLIT(LINE, ' ')[12] AS INT)          AS SC_STATUS,
    CAST(SPLIT(LINE, ' ')[13] AS INT)          AS TIME_TAKEN,
    SPLIT(LINE, ' ')[15]                       AS CS_HOST,
    REPLACE(SPLIT(LINE, ' ')[16], '+', ' ')    AS USER_AGENT,
    SPLIT(LINE, ' ')[17]                       AS REFERER
  FROM RAW_LOGS
  WHERE LINE NOT LIKE '#%'
  EMIT CHANGES;

-- Who runs which site: reference data, a table over a changelog topic of its own.
CREATE TABLE SITES (SITE STRING PRIMARY KEY, OWNER STRING, TIER STRING)
  WITH (KAFKA_TOPIC = 'sites', VALUE_FORMAT = 'JSON', PARTITIONS = 1);

INSERT INTO SITES (ROWTIME, SITE, OWNER, TIER) VALUES
  (0, 'W3SVC1', 'shop',    'gold'),
  (0, 'W3SVC2', 'blog',    'bronze'),
  (0, 'W3SVC3', 'support', 'silver'),
  (0, 'W3SVC4', 'api',     'gold');

-- Every request with its site's owner.
CREATE STREAM REQUESTS WITH (VALUE_FORMAT = 'JSON') AS
  SELECT
    L.S_SITENAME AS SITE, S.OWNER AS OWNER, S.TIER AS TIER, L.CS_USERNAME AS USERNAME,
    L.CS_URI_STEM AS URL, L.SC_STATUS AS STATUS, L.TIME_TAKEN AS TIME_TAKEN,
    L.USER_AGENT AS USER_AGENT
  FROM LOGS L
  LEFT JOIN SITES S ON L.S_SITENAME = S.SITE
  EMIT CHANGES;

-- Requests, errors and the 95th percentile of the time taken, per site and minute.
CREATE TABLE SITE_MINUTES WITH (VALUE_FORMAT = 'JSON') AS
  SELECT
    SITE,
    COUNT(*)                                            AS REQUESTS,
    SUM(CASE WHEN STATUS >= 500 THEN 1 ELSE 0 END)      AS ERRORS,
    APPROX_PERCENTILE_CONT(TIME_TAKEN, 0.95)            AS P95_MS
  FROM REQUESTS
  WINDOW TUMBLING (SIZE 1 MINUTE)
  GROUP BY SITE
  EMIT CHANGES;

-- What each user did in one go.
CREATE TABLE USER_SESSIONS WITH (VALUE_FORMAT = 'JSON') AS
  SELECT USERNAME, COUNT(*) AS PAGES, SUM(TIME_TAKEN) AS TIME_MS
  FROM REQUESTS
  WINDOW SESSION (10 MINUTES)
  WHERE USERNAME <> '-'
  GROUP BY USERNAME
  EMIT CHANGES;

-- Every request as Parquet files, a directory a site.
CREATE SINK REQUEST_FILES FROM REQUESTS
  WITH (CONNECTOR = 'file', PATH = '${OUT}', FORMAT = 'PARQUET', PARTITION_BY = 'SITE',
        ROLL_INTERVAL = '10 SECONDS');

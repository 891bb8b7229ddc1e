-- Nexmark's q14: the middling prices, with the time of day. How often the letter c is in a text is
-- counted with the engine's own functions, where the official query brings one written in Java.
CREATE STREAM BID (
  AUCTION BIGINT, BIDDER BIGINT, PRICE BIGINT, CHANNEL STRING, URL STRING, DATETIME BIGINT, EXTRA STRING
) WITH (KAFKA_TOPIC = 'bid', VALUE_FORMAT = 'JSON', TIMESTAMP = 'DATETIME');
CREATE SINK RESULT WITH (CONNECTOR = 'blackhole') AS
  SELECT
    AUCTION, BIDDER, 0.908 * PRICE AS PRICE,
    CASE
      WHEN DATE_PART('hour', FROM_UNIXTIME(DATETIME)) >= 8
        AND DATE_PART('hour', FROM_UNIXTIME(DATETIME)) <= 18 THEN 'dayTime'
      WHEN DATE_PART('hour', FROM_UNIXTIME(DATETIME)) <= 6
        OR DATE_PART('hour', FROM_UNIXTIME(DATETIME)) >= 20 THEN 'nightTime'
      ELSE 'otherTime'
    END AS TIME_TYPE,
    DATETIME, EXTRA,
    LEN(EXTRA) - LEN(REPLACE(EXTRA, 'c', '')) AS C_COUNT
  FROM BID
  WHERE 0.908 * PRICE > 1000000 AND 0.908 * PRICE < 50000000
  EMIT CHANGES;

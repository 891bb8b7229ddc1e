-- Nexmark's q14: the middling prices, with the time of day. How often the letter c is in a text is
-- counted with the engine's own functions, where the official query brings one written in Java.
CREATE TABLE blackhole (
  auction BIGINT, bidder BIGINT, price DECIMAL(23, 3), time_type STRING,
  event_time TIMESTAMP_LTZ(3), extra STRING, c_count INT
) WITH ('connector' = 'blackhole');
INSERT INTO blackhole
  SELECT
    auction, bidder, 0.908 * price,
    CASE
      WHEN HOUR(event_time) >= 8 AND HOUR(event_time) <= 18 THEN 'dayTime'
      WHEN HOUR(event_time) <= 6 OR HOUR(event_time) >= 20 THEN 'nightTime'
      ELSE 'otherTime'
    END,
    event_time, extra,
    CHAR_LENGTH(extra) - CHAR_LENGTH(REPLACE(extra, 'c', ''))
  FROM bid
  WHERE 0.908 * price > 1000000 AND 0.908 * price < 50000000;

-- Flink's view of the topic of bids, which tests/bench/flink/measure.py puts before each query.
-- Watermarks follow the bids by 4 seconds, as the official Nexmark has it.
CREATE TABLE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, `dateTime` BIGINT, extra STRING,
  event_time AS TO_TIMESTAMP_LTZ(`dateTime`, 3),
  WATERMARK FOR event_time AS event_time - INTERVAL '4' SECOND
) WITH (
  'connector' = 'kafka',
  'topic' = 'bid',
  'properties.bootstrap.servers' = '${BOOTSTRAP}',
  'scan.startup.mode' = 'earliest-offset',
  'scan.bounded.mode' = 'latest-offset',
  'format' = 'json'
);

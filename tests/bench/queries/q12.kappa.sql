-- Nexmark's q12 by event time: bids per bidder in windows of 10 seconds. The official query takes
-- the time at which a bid is processed, so that its result depends on the speed.
CREATE STREAM BID (
  AUCTION BIGINT, BIDDER BIGINT, PRICE BIGINT, CHANNEL STRING, URL STRING, DATETIME BIGINT, EXTRA STRING
) WITH (KAFKA_TOPIC = 'bid', VALUE_FORMAT = 'JSON', TIMESTAMP = 'DATETIME');
CREATE SINK RESULT WITH (CONNECTOR = 'blackhole') AS
  SELECT BIDDER, COUNT(*) AS BIDS
  FROM BID
  WINDOW TUMBLING (SIZE 10 SECONDS, GRACE PERIOD 4 SECONDS)
  GROUP BY BIDDER
  EMIT CHANGES;

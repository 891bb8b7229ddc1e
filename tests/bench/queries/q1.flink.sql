-- Nexmark's q1: prices in another currency, as exact decimals.
CREATE TABLE blackhole (
  auction BIGINT, bidder BIGINT, price DECIMAL(23, 3), event_time TIMESTAMP_LTZ(3), extra STRING
) WITH ('connector' = 'blackhole');
INSERT INTO blackhole
  SELECT auction, bidder, 0.908 * price, event_time, extra
  FROM bid;

-- Nexmark's q0: every bid, passed through.
CREATE TABLE blackhole (auction BIGINT, bidder BIGINT, price BIGINT, event_time TIMESTAMP_LTZ(3), extra STRING)
WITH ('connector' = 'blackhole');
INSERT INTO blackhole
  SELECT auction, bidder, price, event_time, extra
  FROM bid;

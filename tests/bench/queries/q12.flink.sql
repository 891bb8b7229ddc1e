-- Nexmark's q12 by event time: bids per bidder in windows of 10 seconds. The official query takes
-- the time at which a bid is processed, so that its result depends on the speed.
CREATE TABLE blackhole (bidder BIGINT, window_start TIMESTAMP(3), window_end TIMESTAMP(3), bids BIGINT)
WITH ('connector' = 'blackhole');
INSERT INTO blackhole
  SELECT bidder, window_start, window_end, COUNT(*)
  FROM TUMBLE(TABLE bid, DESCRIPTOR(event_time), INTERVAL '10' SECOND)
  GROUP BY bidder, window_start, window_end;

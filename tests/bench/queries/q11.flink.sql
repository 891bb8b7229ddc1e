-- Nexmark's q11: bids per session of a bidder, which 10 seconds without a bid end.
CREATE TABLE blackhole (bidder BIGINT, window_start TIMESTAMP(3), window_end TIMESTAMP(3), bids BIGINT)
WITH ('connector' = 'blackhole');
INSERT INTO blackhole
  SELECT bidder, window_start, window_end, COUNT(*)
  FROM SESSION(TABLE bid PARTITION BY bidder, DESCRIPTOR(event_time), INTERVAL '10' SECOND)
  GROUP BY bidder, window_start, window_end;

-- The heart of Nexmark's q5: bids per auction in the last 10 seconds, every 2 seconds; without the
-- join that keeps the auction with most of them.
CREATE TABLE blackhole (auction BIGINT, window_start TIMESTAMP(3), window_end TIMESTAMP(3), bids BIGINT)
WITH ('connector' = 'blackhole');
INSERT INTO blackhole
  SELECT auction, window_start, window_end, COUNT(*)
  FROM HOP(TABLE bid, DESCRIPTOR(event_time), INTERVAL '2' SECOND, INTERVAL '10' SECOND)
  GROUP BY auction, window_start, window_end;

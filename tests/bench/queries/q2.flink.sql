-- Nexmark's q2: the bids on a few auctions.
CREATE TABLE blackhole (auction BIGINT, price BIGINT)
WITH ('connector' = 'blackhole');
INSERT INTO blackhole
  SELECT auction, price
  FROM bid
  WHERE MOD(auction, 123) = 0;

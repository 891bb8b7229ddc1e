-- Nexmark's q21: the channel's number, from its name or from the address.
CREATE STREAM BID (
  AUCTION BIGINT, BIDDER BIGINT, PRICE BIGINT, CHANNEL STRING, URL STRING, DATETIME BIGINT, EXTRA STRING
) WITH (KAFKA_TOPIC = 'bid', VALUE_FORMAT = 'JSON', TIMESTAMP = 'DATETIME');
CREATE SINK RESULT WITH (CONNECTOR = 'blackhole') AS
  SELECT
    AUCTION, BIDDER, PRICE, CHANNEL,
    CASE
      WHEN LCASE(CHANNEL) = 'apple' THEN '0'
      WHEN LCASE(CHANNEL) = 'google' THEN '1'
      WHEN LCASE(CHANNEL) = 'facebook' THEN '2'
      WHEN LCASE(CHANNEL) = 'baidu' THEN '3'
      ELSE REGEXP_EXTRACT('(&|^)channel_id=([^&]*)', URL, 2)
    END AS CHANNEL_ID
  FROM BID
  WHERE REGEXP_EXTRACT('(&|^)channel_id=([^&]*)', URL, 2) IS NOT NULL
    OR LCASE(CHANNEL) IN ('apple', 'google', 'facebook', 'baidu')
  EMIT CHANGES;

//! The last epoch of a sink as its rows tell it, for when Kafka has forgotten the marker: offsets of
//! a group without members expire after a week.

use std::time::Duration;

use arrow::array::{Array, AsArray};

use super::{EPOCH_HEADER, TransactionalProducer};
use crate::record::Records;
use crate::topic::{FetchLimit, OffsetRange, Reader, Topics};
use crate::{Error, Result};

/// How far back from the end of a partition is looked first; each further look goes ten times as
/// far.
const FIRST_LOOK: i64 = 100;
const LIMIT: FetchLimit = FetchLimit {
    records: 10_000,
    bytes: 16 << 20,
    headers: true,
};
/// How long nothing may come.
const PATIENCE_S: usize = 60;

impl TransactionalProducer {
    /// The largest epoch among the rows of this producer in a topic, or `None` where there are none
    /// left. To be called after [`TransactionalProducer::init`], so that none is still open.
    pub async fn epoch_in_records(&self, topic: &str) -> Result<Option<u64>> {
        let topics = super::KafkaTopics {
            cluster: self.cluster.clone(),
        };
        let mut newest = None;
        for (partition, range) in (0..).zip(topics.offsets(topic).await?) {
            let mut back = FIRST_LOOK;
            let mut found = None;
            while found.is_none() {
                let start = range.start.max(range.end.saturating_sub(back));
                let mut reader = topics.reader(topic, &[(partition, start)]).await?;
                found = self.newest_from(&mut *reader, partition, range).await?;
                if start == range.start {
                    break;
                }
                back = back.saturating_mul(10);
            }
            newest = newest.max(found);
        }
        Ok(newest)
    }

    async fn newest_from(
        &self,
        reader: &mut dyn Reader,
        partition: i32,
        range: OffsetRange,
    ) -> Result<Option<u64>> {
        let (mut newest, mut waited) = (None, 0);
        loop {
            let fetched = reader.fetch(partition, LIMIT)?;
            if let Some(records) = &fetched.records {
                newest = newest.max(newest_in(records, &self.id));
                waited = 0;
            }
            if fetched.at_end || fetched.next_offset >= range.end {
                return Ok(newest);
            }
            if waited == PATIENCE_S {
                let what = format!("look for the last epoch of \"{}\"", self.id);
                return Err(Error::retryable(
                    what,
                    format!("nothing came for {PATIENCE_S} s"),
                ));
            }
            if fetched.records.is_none() {
                reader.ready(Duration::from_secs(1)).await?;
                waited += 1;
            }
        }
    }
}

/// The largest epoch of a sink among records.
fn newest_in(records: &Records, id: &str) -> Option<u64> {
    let lists = records.headers.as_ref()?;
    let entries = lists.values().as_struct();
    let keys = entries.column(0).as_string::<i32>();
    let values = entries.column(1).as_binary::<i32>();
    let epoch = |index: usize| {
        let ours = keys.value(index) == EPOCH_HEADER && values.is_valid(index);
        let (sink, epoch) = str::from_utf8(ours.then(|| values.value(index))?)
            .ok()?
            .rsplit_once(':')?;
        (sink == id).then(|| epoch.parse().ok()).flatten()
    };
    (0..entries.len()).filter_map(epoch).max()
}

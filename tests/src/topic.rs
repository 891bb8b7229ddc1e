//! Records of a topic as a test writes and reads them: one at a time, in bytes.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, Int64Array, ListArray, StringArray, StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::DataType;
use kappa_engine::record::{NewRecords, Records, headers_type};
use kappa_engine::topic::{CleanupPolicy, FetchLimit, NewTopic, Topics};

/// A record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Record {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub timestamp: i64,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// Creates a topic of so many partitions, unless it is there.
///
/// # Errors
/// What the topics say.
pub async fn create(topics: &dyn Topics, name: &str, partitions: i32) -> Result<(), String> {
    if topics
        .describe(name)
        .await
        .map_err(|error| error.to_string())?
        .is_some()
    {
        return Ok(());
    }
    let topic = NewTopic {
        name: name.to_owned(),
        partitions,
        replicas: 1,
        cleanup: CleanupPolicy::Delete,
        retention_ms: None,
        retention_bytes: None,
    };
    topics
        .create(&topic)
        .await
        .map_err(|error| error.to_string())
}

/// Appends a record.
///
/// # Errors
/// What the topics say.
pub async fn append(
    topics: &dyn Topics,
    name: &str,
    partition: i32,
    record: &Record,
) -> Result<(), String> {
    let records = NewRecords {
        partition,
        timestamps: Int64Array::from(vec![record.timestamp]),
        keys: BinaryArray::from(vec![record.key.as_deref()]),
        values: BinaryArray::from(vec![record.value.as_deref()]),
        headers: headers_array(&record.headers),
    };
    topics
        .append(name, &[records])
        .await
        .map_err(|error| error.to_string())
}

/// The partition that Kafka's clients send a key to.
pub fn partition_of(key: &[u8], partitions: i32) -> i32 {
    const M: u32 = 0x5bd1_e995;
    let mix = |k: u32| {
        let k = k.wrapping_mul(M);
        (k ^ (k >> 24)).wrapping_mul(M)
    };
    // A key is far shorter than 4 GB.
    let mut hash = 0x9747_b28c_u32 ^ key.len() as u32;
    let (words, rest) = key.as_chunks::<4>();
    for word in words {
        hash = hash.wrapping_mul(M) ^ mix(u32::from_le_bytes(*word));
    }
    for (index, byte) in rest.iter().enumerate().rev() {
        hash ^= u32::from(*byte) << (8 * index);
        if index == 0 {
            hash = hash.wrapping_mul(M);
        }
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^= hash >> 15;
    ((hash & 0x7fff_ffff) % partitions.unsigned_abs()) as i32
}

/// The headers of one record.
fn headers_array(headers: &[(String, Option<Vec<u8>>)]) -> Option<ListArray> {
    let DataType::List(item) = headers_type() else {
        return None;
    };
    let DataType::Struct(fields) = item.data_type() else {
        return None;
    };
    if headers.is_empty() {
        return None;
    }
    let names: StringArray = headers
        .iter()
        .map(|(name, _)| Some(name.as_str()))
        .collect();
    let values: BinaryArray = headers.iter().map(|(_, value)| value.as_deref()).collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(names), Arc::new(values)];
    let pairs = StructArray::new(fields.clone(), columns, None);
    let offsets = OffsetBuffer::from_lengths([headers.len()]);
    Some(ListArray::new(item, offsets, Arc::new(pairs), None))
}

/// Reads a topic's records as they come, the partitions one after the other at each look.
#[derive(Clone, Debug)]
pub struct Tail {
    topic: String,
    offsets: Vec<i64>,
}

impl Tail {
    /// From the topic's beginning.
    pub fn new(topic: &str) -> Self {
        Self {
            topic: topic.to_owned(),
            offsets: Vec::new(),
        }
    }

    /// The records since the last look. None while there is no such topic.
    ///
    /// # Errors
    /// What the topics say.
    pub async fn look(&mut self, topics: &dyn Topics) -> Result<Vec<Record>, String> {
        self.read(topics).await.map_err(|error| error.to_string())
    }

    async fn read(
        &mut self,
        topics: &dyn Topics,
    ) -> Result<Vec<Record>, Box<dyn std::error::Error>> {
        if topics.describe(&self.topic).await?.is_none() {
            return Ok(Vec::new());
        }
        let ends = topics.offsets(&self.topic).await?;
        self.offsets.resize(ends.len(), 0);
        let positions: Vec<(i32, i64)> = self
            .offsets
            .iter()
            .zip(0..)
            .map(|(offset, partition)| (partition, *offset))
            .collect();
        let mut reader = topics.reader(&self.topic, &positions).await?;
        let mut found = Vec::new();
        for ((partition, _), end) in positions.into_iter().zip(ends) {
            let offset = &mut self.offsets[usize::try_from(partition)?];
            while *offset < end.end {
                let limit = FetchLimit {
                    records: 1 << 16,
                    bytes: 64 << 20,
                    headers: true,
                };
                let fetched = reader.fetch(partition, limit)?;
                if fetched.next_offset == *offset {
                    // Kafka has not sent them yet.
                    reader.ready(std::time::Duration::from_millis(100)).await?;
                }
                *offset = fetched.next_offset;
                if let Some(records) = &fetched.records {
                    unpack(records, &mut found);
                }
            }
        }
        Ok(found)
    }
}

fn unpack(records: &Records, out: &mut Vec<Record>) {
    let bytes = |array: &BinaryArray, row| array.is_valid(row).then(|| array.value(row).to_vec());
    for row in 0..records.len() {
        let mut headers = Vec::new();
        if let Some(list) = &records.headers
            && list.is_valid(row)
        {
            let pairs = list.value(row);
            let pairs = pairs.as_struct();
            let (names, values) = (
                pairs.column(0).as_string::<i32>(),
                pairs.column(1).as_binary(),
            );
            for header in 0..pairs.len() {
                headers.push((names.value(header).to_owned(), bytes(values, header)));
            }
        }
        out.push(Record {
            key: bytes(&records.keys, row),
            value: bytes(&records.values, row),
            timestamp: records.timestamps.value(row),
            headers,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_where_kafkas_clients_send_them() {
        // From the tests of Kafka's own client: murmur2 of these, made positive.
        for (key, hash) in [("21", -973_932_308_i32), ("foobar", -790_332_482)] {
            let positive = hash & 0x7fff_ffff;
            assert_eq!(
                partition_of(key.as_bytes(), i32::MAX),
                positive % i32::MAX,
                "{key}"
            );
        }
    }
}

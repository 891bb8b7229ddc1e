//! Records of a topic partition, columnar: what logs hold, decoders read and encoders write.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray, Int64Array, ListArray};
use arrow::datatypes::{DataType, Field, Fields};

/// A run of records of one partition, in offset order. All columns have the same length.
#[derive(Clone, Debug)]
pub struct Records {
    /// Offset of each record. Ascending; gaps are normal (compaction, transactions).
    pub offsets: Int64Array,
    /// Record time, milliseconds since 1970-01-01 UTC.
    pub timestamps: Int64Array,
    /// Keys; null where the record has none.
    pub keys: BinaryArray,
    /// Values; null is a tombstone in a table's topic.
    pub values: BinaryArray,
    /// Headers, of type [`headers_type`]; `None` when no record of the run has any.
    pub headers: Option<ListArray>,
}

impl Records {
    /// Number of records.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The `len` records from `start`, without copying.
    pub fn slice(&self, start: usize, len: usize) -> Self {
        Self {
            offsets: self.offsets.slice(start, len),
            timestamps: self.timestamps.slice(start, len),
            keys: self.keys.slice(start, len),
            values: self.values.slice(start, len),
            headers: self
                .headers
                .as_ref()
                .map(|headers| headers.slice(start, len)),
        }
    }
}

/// Records to append to one partition; the log gives them their offsets.
#[derive(Clone, Debug)]
pub struct NewRecords {
    /// The partition they go to.
    pub partition: i32,
    /// Record time, milliseconds since 1970-01-01 UTC.
    pub timestamps: Int64Array,
    /// Keys; null where the record has none.
    pub keys: BinaryArray,
    /// Values; null is a tombstone in a table's topic.
    pub values: BinaryArray,
    /// Headers, of type [`headers_type`].
    pub headers: Option<ListArray>,
}

impl NewRecords {
    /// Number of records.
    pub fn len(&self) -> usize {
        self.timestamps.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The Arrow type of headers: a list of `(KEY, VALUE)` in the order they were written.
pub fn headers_type() -> DataType {
    let fields = Fields::from(vec![
        Field::new("KEY", DataType::Utf8, true),
        Field::new("VALUE", DataType::Binary, true),
    ]);
    DataType::List(Arc::new(Field::new("item", DataType::Struct(fields), true)))
}

/// A headers column of `len` records that have none.
pub fn no_headers(len: usize) -> ArrayRef {
    use arrow::array::{StructArray, new_empty_array};
    use arrow::buffer::{OffsetBuffer, ScalarBuffer};
    let DataType::List(item) = headers_type() else {
        unreachable!("headers are a list")
    };
    let values = new_empty_array(item.data_type());
    debug_assert!(values.as_any().is::<StructArray>());
    let offsets = OffsetBuffer::new(ScalarBuffer::from(vec![0_i32; len + 1]));
    Arc::new(ListArray::new(item, offsets, values, None))
}

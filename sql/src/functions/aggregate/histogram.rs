//! `HISTOGRAM(text)`: how many rows have each text, for the first thousand texts.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Builder, MapBuilder, StringBuilder};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Accumulator;

use super::{Definition, list, to_list};
use crate::functions::native::Get;
use crate::functions::text::map_names;
use crate::types::SqlType;

/// ksqlDB's limit.
const KEYS_MAX: usize = 1000;

pub(super) static HISTOGRAM: Definition = Definition {
    name: "histogram",
    form: "HISTOGRAM(text)",
    accept: |types| matches!(types, [DataType::Utf8]).then(|| types.to_vec()),
    returns: |_| SqlType::Map(Box::new(SqlType::String), Box::new(SqlType::BigInt)).to_arrow(),
    state: |_| vec![list(&DataType::Utf8), list(&DataType::Int64)],
    make: |_| Ok(Box::new(Histogram::default())),
};

/// Texts in the order in which they came, and how many rows have each.
#[derive(Debug, Default)]
struct Histogram {
    counts: Vec<(String, i64)>,
}

impl Histogram {
    fn add(&mut self, text: &str, count: i64) {
        match self.counts.iter().position(|(known, _)| known == text) {
            Some(at) => {
                self.counts[at].1 += count;
                if self.counts[at].1 <= 0 {
                    self.counts.remove(at);
                }
            }
            None if count > 0 && self.counts.len() < KEYS_MAX => {
                self.counts.push((text.to_owned(), count));
            }
            None => {}
        }
    }

    fn add_all(&mut self, values: &[ArrayRef], count: i64) {
        let texts = values[0].as_string::<i32>();
        for row in 0..texts.len() {
            if let Some(text) = texts.get(row) {
                self.add(text, count);
            }
        }
    }
}

impl Accumulator for Histogram {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add_all(values, 1);
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add_all(values, -1);
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let names = Some(map_names());
        let mut map = MapBuilder::new(names, StringBuilder::new(), Int64Builder::new());
        for (text, count) in &self.counts {
            map.keys().append_value(text);
            map.values().append_value(*count);
        }
        map.append(true)?;
        Ok(ScalarValue::Map(Arc::new(map.finish())))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let texts: Vec<ScalarValue> = self
            .counts
            .iter()
            .map(|(text, _)| ScalarValue::from(text.as_str()))
            .collect();
        let counts: Vec<ScalarValue> = self
            .counts
            .iter()
            .map(|(_, count)| ScalarValue::from(*count))
            .collect();
        Ok(vec![
            to_list(&texts, &DataType::Utf8),
            to_list(&counts, &DataType::Int64),
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let (texts, counts) = (states[0].as_list::<i32>(), states[1].as_list::<i32>());
        for row in (0..texts.len()).filter(|row| texts.is_valid(*row) && counts.is_valid(*row)) {
            let (texts, counts) = (texts.value(row), counts.value(row));
            let counts = counts.as_primitive::<Int64Type>();
            for (at, count) in counts.values().iter().enumerate() {
                self.add(texts.as_string::<i32>().value(at), *count);
            }
        }
        Ok(())
    }

    fn size(&self) -> usize {
        let texts: usize = self
            .counts
            .iter()
            .map(|(text, _)| text.capacity() + 32)
            .sum();
        std::mem::size_of::<Self>() + texts
    }
}

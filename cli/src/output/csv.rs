//! CSV as in RFC 4180, except that lines end in LF as Unix tools expect.
//!
//! Values are those of the table. NULL is an empty field, an empty text is `""`.

use std::borrow::Cow;
use std::io::{self, Write};

use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;

use super::RowWriter;
use super::value::Values;

/// Prints rows as CSV.
pub(crate) struct Csv<'a> {
    out: &'a mut dyn Write,
}

impl<'a> Csv<'a> {
    /// Writes the header.
    pub(crate) fn new(schema: &Schema, out: &'a mut dyn Write) -> io::Result<Self> {
        let mut csv = Self { out };
        csv.line(
            schema
                .fields()
                .iter()
                .map(|field| Some(field.name().clone())),
        )?;
        Ok(csv)
    }

    fn line(&mut self, fields: impl Iterator<Item = Option<String>>) -> io::Result<()> {
        for (index, field) in fields.enumerate() {
            if index > 0 {
                self.out.write_all(b",")?;
            }
            if let Some(field) = field {
                self.out.write_all(quoted(&field).as_bytes())?;
            }
        }
        self.out.write_all(b"\n")
    }
}

impl RowWriter for Csv<'_> {
    fn batch(&mut self, batch: &RecordBatch) -> io::Result<()> {
        let values: Vec<Values<'_>> = batch
            .columns()
            .iter()
            .map(|array| Values::try_new(array))
            .collect::<io::Result<_>>()?;
        for row in 0..batch.num_rows() {
            self.line(values.iter().map(|values| values.text(row)))?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn quoted(field: &str) -> Cow<'_, str> {
    if field.is_empty() {
        Cow::Borrowed("\"\"")
    } else if field.contains(['"', ',', '\n', '\r']) {
        Cow::Owned(format!("\"{}\"", field.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(field)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, StringArray};
    use expect_test::expect;

    use super::super::tests::{every_type, print};
    use super::super::{Format, Screen};
    use super::*;

    #[test]
    fn every_type_in_csv() {
        expect![[r#"
            BOOL,INT,BIGINT,DOUBLE,DECIMAL,STRING,BYTES,DATE,TIME,TIMESTAMP,ARRAY,MAP,STRUCT
            true,-7,9223372036854775807,0.1,1.2300,it's,AP9r,2023-11-14,01:02:03.004,2023-11-14T22:13:20.120,"[a, b]","{a=1, b=NULL}","{F=true, G=NULL}"
            ,,,,,,,,,,,,
        "#]]
        .assert_eq(&print(Format::Csv, Screen::default(), &[every_type()]));
    }

    #[test]
    fn quotes_only_where_they_are_needed() {
        let texts = vec![
            Some("a\"b"),
            Some("a,b"),
            Some("a\r\nb"),
            Some(""),
            None,
            Some(" a "),
        ];
        let batch = RecordBatch::try_from_iter_with_nullable([(
            "A,B",
            Arc::new(StringArray::from(texts)) as ArrayRef,
            true,
        )])
        .unwrap();
        assert_eq!(
            print(Format::Csv, Screen::default(), &[batch]),
            "\"A,B\"\n\"a\"\"b\"\n\"a,b\"\n\"a\r\nb\"\n\"\"\n\n a \n"
        );
    }
}

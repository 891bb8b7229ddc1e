//! Aligned columns under a header.
//!
//! The first rows are held back until there are enough to size the columns by, then everything is
//! printed as it comes. A later value that is too wide wraps on a terminal, or pushes its row apart
//! in a pipe, where nothing is ever cut. A live table prints every row at once, on one line, widens
//! its columns when it must, and repeats the header each screenful.

use std::io::{self, Write};

use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;
use nu_ansi_term::Style;

use super::layout::{Layout, Wish, fit};
use super::text::{cut, escape, escape_lines, width, wrap};
use super::value::Values;
use super::{RowWriter, Screen, records};

/// Rows held back to size the columns by.
const SAMPLE_ROWS: usize = 1_000;
/// And no more text than that.
const SAMPLE_BYTES: usize = 4 << 20;
/// A value takes no more lines than that on a terminal.
const LINES_MAX: usize = 10;

/// A live table's column that must be widened gets no more than so much too wide.
const SPARE_MAX: usize = 8;

/// A value, escaped; `None` for NULL.
pub(super) type Cell = Option<String>;

/// Prints rows as a table.
pub(crate) struct Table<'a> {
    names: Vec<String>,
    types: Vec<DataType>,
    wishes: Vec<Wish>,
    screen: Screen,
    out: &'a mut dyn Write,
    held: Vec<Vec<Cell>>,
    held_bytes: usize,
    layout: Option<Layout>,
    rows_since_header: usize,
    rows: u64,
}

impl<'a> Table<'a> {
    /// A table with the schema's columns.
    pub(crate) fn new(schema: SchemaRef, screen: Screen, out: &'a mut dyn Write) -> Self {
        let names: Vec<String> = schema
            .fields()
            .iter()
            .map(|field| escape(field.name()).into_owned())
            .collect();
        let types: Vec<DataType> = schema
            .fields()
            .iter()
            .map(|field| field.data_type().clone())
            .collect();
        let wishes = names.iter().zip(&types).map(|(name, of)| Wish {
            header: width(name),
            body: if screen.live { expected_width(of) } else { 0 },
            rigid: is_rigid(of),
        });
        Self {
            wishes: wishes.collect(),
            names,
            types,
            screen,
            out,
            held: Vec::new(),
            held_bytes: 0,
            layout: None,
            rows_since_header: 0,
            rows: 0,
        }
    }

    fn columns(&self) -> Option<usize> {
        self.screen.size.map(|(columns, _)| columns)
    }

    /// Whether a value goes over more than one line.
    fn one_line(&self) -> bool {
        self.screen.live
    }

    fn cells(&self, batch: &RecordBatch) -> io::Result<Vec<Vec<Cell>>> {
        let values: Vec<Values<'_>> = batch
            .columns()
            .iter()
            .map(|array| Values::try_new(array))
            .collect::<io::Result<_>>()?;
        let cell = |values: &Values<'_>, row| {
            values.text(row).map(|text| {
                if self.one_line() {
                    escape(&text).into_owned()
                } else {
                    escape_lines(&text).into_owned()
                }
            })
        };
        let row = |row| values.iter().map(|values| cell(values, row)).collect();
        Ok((0..batch.num_rows()).map(row).collect())
    }

    /// Takes the row into account for the columns' widths; whether they grew.
    fn measure(&mut self, row: &[Cell]) -> bool {
        let mut grew = false;
        for (wish, cell) in self.wishes.iter_mut().zip(row) {
            let wanted = match cell {
                None => "NULL".len(),
                Some(text) => text.split('\n').map(width).max().unwrap_or(0),
            };
            if wanted > wish.body {
                grew |= wanted > wish.header;
                // With some room to spare, or a value that grows would repeat the header each time.
                let spare = if self.screen.live {
                    (wanted / 4).min(SPARE_MAX)
                } else {
                    0
                };
                wish.body = wanted + spare;
            }
        }
        grew
    }

    /// Sizes the columns and prints what was held back.
    fn open(&mut self) -> io::Result<()> {
        let layout = fit(&self.wishes, self.columns());
        self.layout = Some(layout);
        if !self.screen.live {
            self.header()?;
        }
        for row in std::mem::take(&mut self.held) {
            self.row(&row)?;
        }
        Ok(())
    }

    fn header(&mut self) -> io::Result<()> {
        self.rows_since_header = 0;
        let Some(Layout::Columns(widths)) = &self.layout else {
            return Ok(());
        };
        let bold = |text: String| {
            if self.screen.color {
                Style::new().bold().paint(text).to_string()
            } else {
                text
            }
        };
        let last = widths.len().saturating_sub(1);
        for (index, (name, room)) in self.names.iter().zip(widths).enumerate() {
            let shown = cut(name, *room);
            let pad = room - width(&shown).min(*room);
            let (before, after) = self.padding(index, pad, index == last);
            write!(
                self.out,
                "{:before$}{}{:after$}",
                "",
                bold(shown.into_owned()),
                ""
            )?;
            if index < last {
                write!(self.out, " | ")?;
            }
        }
        let rule = widths
            .iter()
            .map(|room| "-".repeat(*room))
            .collect::<Vec<_>>()
            .join("-+-");
        writeln!(self.out, "\n{rule}")
    }

    /// Blanks before and after a value. None after the last column.
    fn padding(&self, column: usize, pad: usize, last: bool) -> (usize, usize) {
        match (is_number(&self.types[column]), last) {
            (true, _) => (pad, 0),
            (false, true) => (0, 0),
            (false, false) => (0, pad),
        }
    }

    fn row(&mut self, row: &[Cell]) -> io::Result<()> {
        self.rows += 1;
        match &self.layout {
            Some(Layout::Columns(widths)) => {
                let widths = widths.clone();
                self.rows_since_header += 1;
                self.aligned(row, &widths)
            }
            _ => records::write(self.out, self.rows, &self.names, row, self.screen.color),
        }
    }

    fn aligned(&mut self, row: &[Cell], widths: &[usize]) -> io::Result<()> {
        // A column that stands alone has no neighbours to keep apart from: it is shown whole.
        let alone = row.len() == 1;
        let cells: Vec<Vec<String>> = row
            .iter()
            .zip(widths)
            .zip(&self.wishes)
            .map(|((cell, room), wish)| match cell {
                None => vec!["NULL".to_owned()],
                Some(text) if alone || self.screen.size.is_none() => {
                    text.split('\n').map(str::to_owned).collect()
                }
                Some(text) if wish.rigid => vec![text.clone()],
                Some(text) if self.one_line() => vec![cut(text, *room).into_owned()],
                Some(text) => wrap(text, *room, LINES_MAX),
            })
            .collect();
        let height = cells.iter().map(Vec::len).max().unwrap_or(0);
        let last = row.len().saturating_sub(1);
        for line in 0..height {
            let mut shown = String::new();
            for (column, lines) in cells.iter().enumerate() {
                let text = lines.get(line).map_or("", String::as_str);
                let pad = widths[column].saturating_sub(width(text));
                let (before, after) = self.padding(column, pad, column == last);
                shown.extend(std::iter::repeat_n(' ', before));
                if row[column].is_none() && line == 0 {
                    shown.push_str(&paint_null(self.screen.color));
                } else {
                    shown.push_str(text);
                }
                shown.extend(std::iter::repeat_n(' ', after));
                if column < last {
                    shown.push_str(" | ");
                }
            }
            // Under a short last value, and in an empty one, there is nothing but padding.
            let blank = cells
                .last()
                .is_some_and(|lines| lines.get(line).is_none_or(String::is_empty));
            writeln!(
                self.out,
                "{}",
                if blank {
                    shown.trim_end_matches(' ')
                } else {
                    &shown
                }
            )?;
        }
        Ok(())
    }

    /// Rows of a table without an end: sized as they come.
    fn live(&mut self, rows: &[Vec<Cell>]) -> io::Result<()> {
        let mut grew = false;
        for row in rows {
            grew |= self.measure(row);
        }
        if self.layout.is_none() || grew {
            let layout = fit(&self.wishes, self.columns());
            // Once started, a table stays one: what does not fit is cut.
            let stays = !matches!(
                (&self.layout, &layout),
                (Some(Layout::Columns(_)), Layout::Records) | (Some(Layout::Records), _)
            );
            if stays && self.layout.as_ref() != Some(&layout) {
                let first = self.layout.is_none();
                self.layout = Some(layout);
                // In a pipe the header is a line of its own kind; once is enough.
                if first || self.screen.size.is_some() {
                    self.header()?;
                }
            }
        }
        // The header and its rule should never leave the screen.
        let screenful = self
            .screen
            .size
            .map(|(_, lines)| lines.saturating_sub(4).max(5));
        for row in rows {
            if screenful.is_some_and(|lines| self.rows_since_header >= lines) {
                self.header()?;
            }
            self.row(row)?;
        }
        Ok(())
    }
}

impl RowWriter for Table<'_> {
    fn batch(&mut self, batch: &RecordBatch) -> io::Result<()> {
        let rows = self.cells(batch)?;
        if self.screen.live {
            return self.live(&rows);
        }
        for row in rows {
            if self.layout.is_some() {
                self.row(&row)?;
                continue;
            }
            self.measure(&row);
            self.held_bytes += row.iter().flatten().map(String::len).sum::<usize>();
            self.held.push(row);
            if self.held.len() >= SAMPLE_ROWS || self.held_bytes >= SAMPLE_BYTES {
                self.open()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        if self.layout.is_none() {
            if self.screen.live {
                self.live(&[])?;
            } else {
                self.open()?;
            }
        }
        Ok(())
    }
}

/// `NULL`, dimmed so that it does not look like the text.
pub(super) fn paint_null(color: bool) -> String {
    if color {
        Style::new().dimmed().paint("NULL").to_string()
    } else {
        "NULL".to_owned()
    }
}

fn is_number(of: &DataType) -> bool {
    of.is_numeric() || matches!(of, DataType::Null)
}

/// Whether a part of a value would be taken for another value.
fn is_rigid(of: &DataType) -> bool {
    of.is_numeric() || of.is_temporal() || matches!(of, DataType::Boolean)
}

/// A width that most values of the type fit, so that a live table need not be widened often.
fn expected_width(of: &DataType) -> usize {
    match of {
        DataType::Boolean => 5,
        DataType::Int64 | DataType::UInt64 => 13,
        DataType::Float64 | DataType::Float32 => 10,
        DataType::Date32 => 10,
        DataType::Time32(_) => 12,
        DataType::Timestamp(..) => 23,
        of if of.is_numeric() => 8,
        _ => 16,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, NullArray, StringArray};
    use expect_test::{Expect, expect};

    use super::super::Format;
    use super::super::tests::{every_type, print};
    use super::*;

    fn rows(texts: &[Option<&str>], numbers: &[i64]) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable([
            (
                "TEXT",
                Arc::new(StringArray::from(texts.to_vec())) as ArrayRef,
                true,
            ),
            (
                "N",
                Arc::new(Int64Array::from(numbers.to_vec())) as ArrayRef,
                true,
            ),
        ])
        .unwrap()
    }

    fn check(screen: Screen, batches: &[RecordBatch], expected: Expect) {
        expected.assert_eq(&print(Format::Table, screen, batches).replace('\u{1b}', "\\e"));
    }

    fn terminal(columns: usize) -> Screen {
        Screen {
            size: Some((columns, 9)),
            ..Screen::default()
        }
    }

    #[test]
    fn columns_are_aligned() {
        check(
            Screen::default(),
            &[rows(&[Some("a"), None, Some("日本")], &[1, -22, 333])],
            expect![[r#"
                TEXT |   N
                -----+----
                a    |   1
                NULL | -22
                日本 | 333
            "#]],
        );
    }

    #[test]
    fn no_rows_are_a_header() {
        check(
            Screen::default(),
            &[rows(&[], &[])],
            expect![[r#"
                TEXT | N
                -----+--
            "#]],
        );
    }

    #[test]
    fn long_text_is_wrapped_on_a_terminal_and_whole_in_a_pipe() {
        let batch = rows(
            &[Some("the quick brown fox jumps"), Some("two\nlines")],
            &[1234, 5],
        );
        check(
            terminal(20),
            std::slice::from_ref(&batch),
            expect![[r#"
                -[ row 1 ]----
                TEXT | the quick brown fox jumps
                N    | 1234
                -[ row 2 ]----
                TEXT | two
                     | lines
                N    | 5
            "#]],
        );
        check(
            Screen::default(),
            &[batch],
            expect![[r#"
                TEXT                      |    N
                --------------------------+-----
                the quick brown fox jumps | 1234
                two                       |    5
                lines                     |
            "#]],
        );
    }

    #[test]
    fn data_cannot_steer_the_terminal() {
        check(
            Screen {
                color: true,
                ..Screen::default()
            },
            &[rows(&[Some("\u{1b}[2J\u{7}"), None], &[1, 2])],
            expect![[r#"
                \e[1mTEXT\e[0m        | \e[1mN\e[0m
                ------------+--
                \x1b[2J\x07 | 1
                \e[2mNULL\e[0m        | 2
            "#]],
        );
    }

    #[test]
    fn too_many_columns_become_records() {
        check(
            terminal(60),
            &[every_type()],
            expect![[r#"
            -[ row 1 ]---------
            BOOL      | true
            INT       | -7
            BIGINT    | 9223372036854775807
            DOUBLE    | 0.1
            DECIMAL   | 1.2300
            STRING    | it's
            BYTES     | AP9r
            DATE      | 2023-11-14
            TIME      | 01:02:03.004
            TIMESTAMP | 2023-11-14T22:13:20.120
            ARRAY     | [a, b]
            MAP       | {a=1, b=NULL}
            STRUCT    | {F=true, G=NULL}
            -[ row 2 ]---------
            BOOL      | NULL
            INT       | NULL
            BIGINT    | NULL
            DOUBLE    | NULL
            DECIMAL   | NULL
            STRING    | NULL
            BYTES     | NULL
            DATE      | NULL
            TIME      | NULL
            TIMESTAMP | NULL
            ARRAY     | NULL
            MAP       | NULL
            STRUCT    | NULL
        "#]],
        );
    }

    #[test]
    fn a_column_alone_is_shown_whole() {
        let plan = "Projection: a, b, c, d, e, f, g\n  Filter: a > 1";
        let batch = RecordBatch::try_from_iter([(
            "PLAN",
            Arc::new(StringArray::from(vec![plan])) as ArrayRef,
        )])
        .unwrap();
        check(
            terminal(20),
            &[batch],
            expect![[r#"
                PLAN
                --------------------
                Projection: a, b, c, d, e, f, g
                  Filter: a > 1
            "#]],
        );
    }

    #[test]
    fn a_live_table_widens_and_repeats_its_header() {
        let live = Screen {
            size: Some((40, 9)),
            live: true,
            ..Screen::default()
        };
        let few: Vec<_> = (0..6).map(|i| rows(&[Some("x")], &[i])).collect();
        check(
            live,
            &few,
            expect![[r#"
            TEXT             |             N
            -----------------+--------------
            x                |             0
            x                |             1
            x                |             2
            x                |             3
            x                |             4
            TEXT             |             N
            -----------------+--------------
            x                |             5
        "#]],
        );
        let growing = [
            rows(&[Some("short")], &[1]),
            rows(&[Some("longer than sixteen")], &[2]),
            rows(
                &[Some("much too long for any terminal of forty\n")],
                &[i64::MIN],
            ),
        ];
        check(
            live,
            &growing,
            expect![[r#"
                TEXT             |             N
                -----------------+--------------
                short            |             1
                TEXT                    |             N
                ------------------------+--------------
                longer than sixteen     |             2
                much too long for any … | -9223372036854775808
            "#]],
        );
    }

    #[test]
    fn a_live_table_in_a_pipe_has_one_header_and_whole_values() {
        let live = Screen {
            live: true,
            ..Screen::default()
        };
        let long = "x".repeat(30);
        let batches: Vec<_> = ["a", long.as_str(), "b\nc"]
            .map(|t| rows(&[Some(t)], &[1]))
            .into();
        check(
            live,
            &batches,
            expect![[r#"
                TEXT             |             N
                -----------------+--------------
                a                |             1
                xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx        |             1
                b\nc                                  |             1
            "#]],
        );
        check(
            live,
            &[rows(&[], &[])],
            expect![[r#"
            TEXT             |             N
            -----------------+--------------
        "#]],
        );
    }

    #[test]
    fn rows_behind_the_sample_are_printed_too() {
        let numbers: Vec<i64> = (0..2_500).collect();
        let batch = rows(&vec![Some("x"); 2_500], &numbers);
        let printed = print(Format::Table, terminal(80), &[batch]);
        assert_eq!(printed.lines().count(), 2_502);
        assert_eq!(printed.lines().last(), Some("x    | 2499"));
    }

    #[test]
    fn a_column_of_nothing() {
        let batch = RecordBatch::try_from_iter_with_nullable([(
            "NOTHING",
            Arc::new(NullArray::new(1)) as ArrayRef,
            true,
        )])
        .unwrap();
        check(
            Screen::default(),
            &[batch],
            expect![[r#"
            NOTHING
            -------
               NULL
        "#]],
        );
    }
}

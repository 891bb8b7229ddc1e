//! One value a line, for rows that are too wide for a table.

use std::io::{self, Write};

use super::table::{Cell, paint_null};
use super::text::width;

/// Prints a row. Values are not cut: the terminal wraps them, and there is no grid to break.
pub(crate) fn write(
    out: &mut dyn Write,
    number: u64,
    names: &[String],
    row: &[Cell],
    color: bool,
) -> io::Result<()> {
    let widest = names.iter().map(|name| width(name)).max().unwrap_or(0);
    let title = format!("-[ row {number} ]");
    writeln!(out, "{title:-<0$}", widest + 10)?;
    for (name, cell) in names.iter().zip(row) {
        let pad = widest - width(name);
        write!(out, "{name}{:pad$} | ", "")?;
        match cell {
            None => writeln!(out, "{}", paint_null(color))?,
            Some(text) => {
                for (index, line) in text.split('\n').enumerate() {
                    if index > 0 {
                        write!(out, "{:widest$} | ", "")?;
                    }
                    writeln!(out, "{line}")?;
                }
            }
        }
    }
    Ok(())
}

//! Draws an error under the line it is about.
//!
//! ```text
//! error: column "pge" does not exist in stream "clicks"
//!   1 | SELECT pge, count(*) FROM clicks GROUP BY pge
//!     |        ^^^ did you mean "page"?
//! ```

use super::Error;

/// What is shown of a line, in terminal columns: the whole line or a window around the place.
const SHOWN_COLUMNS_MAX: usize = 100;
/// How much of the window lies before the place.
const SHOWN_BEFORE: usize = 40;
const TAB_STOP: usize = 4;

pub(super) fn render(error: &Error, text: &str) -> String {
    let head = format!("error: {}", error.message);
    let Some(at) = error.position else {
        return match &error.hint {
            Some(hint) => format!("{head}\n  {hint}"),
            None => head,
        };
    };
    let (number, line) = line_at(text, at.line);
    let cells = cells(line);
    // One past the last character is a place too: "something is missing here".
    let start = if number < at.line {
        cells.len()
    } else {
        at.column.saturating_sub(1).min(cells.len())
    };
    let end = start
        .saturating_add(at.len.max(1))
        .min(cells.len())
        .max(start + 1);
    let window = Window::around(&cells, start);

    let gutter = number.to_string().len().max(3);
    let indent = window.columns_before(&cells, start);
    let carets = window.columns_of(&cells, start, end);
    let mut out = format!(
        "{head}\n{number:>gutter$} | {}\n{:>gutter$} | {:indent$}{:^<carets$}",
        window.text(&cells),
        "",
        "",
        "^"
    );
    if let Some(hint) = &error.hint {
        out.push(' ');
        out.push_str(hint);
    }
    out
}

/// The line of that number, counted from 1, or the last one there is.
fn line_at(text: &str, wanted: usize) -> (usize, &str) {
    let mut last = (1, "");
    for (index, line) in text.split('\n').enumerate() {
        last = (index + 1, line.strip_suffix('\r').unwrap_or(line));
        if index + 1 == wanted {
            break;
        }
    }
    last
}

/// One character as it is shown.
struct Cell {
    shown: char,
    /// Columns on a terminal.
    width: usize,
}

fn cells(line: &str) -> Vec<Cell> {
    let mut column = 0;
    line.chars()
        .map(|c| {
            let cell = match c {
                '\t' => Cell {
                    shown: ' ',
                    width: TAB_STOP - column % TAB_STOP,
                },
                c if c.is_control() => Cell {
                    shown: '\u{fffd}',
                    width: 1,
                },
                c => Cell {
                    shown: c,
                    width: width(c),
                },
            };
            column += cell.width;
            cell
        })
        .collect()
}

/// The characters that are shown, by index.
struct Window {
    first: usize,
    end: usize,
}

impl Window {
    fn around(cells: &[Cell], place: usize) -> Self {
        if columns(cells) <= SHOWN_COLUMNS_MAX {
            return Self {
                first: 0,
                end: cells.len(),
            };
        }
        let (mut first, mut before) = (place, 0);
        while first > 0 && before + cells[first - 1].width <= SHOWN_BEFORE {
            first -= 1;
            before += cells[first].width;
        }
        let (mut end, mut shown) = (place, before);
        while end < cells.len() && shown + cells[end].width <= SHOWN_COLUMNS_MAX {
            shown += cells[end].width;
            end += 1;
        }
        Self { first, end }
    }

    fn text(&self, cells: &[Cell]) -> String {
        let mut out = String::new();
        if self.first > 0 {
            out.push('…');
        }
        for cell in &cells[self.first..self.end] {
            out.push(cell.shown);
            // Only a tab is one character in the text and several on screen that we pad.
            if cell.shown == ' ' {
                out.extend(std::iter::repeat_n(' ', cell.width - 1));
            }
        }
        if self.end < cells.len() {
            out.push('…');
        }
        out
    }

    fn columns_before(&self, cells: &[Cell], place: usize) -> usize {
        usize::from(self.first > 0) + columns(&cells[self.first..place])
    }

    fn columns_of(&self, cells: &[Cell], start: usize, end: usize) -> usize {
        columns(&cells[start..end.min(self.end).max(start)]).max(1)
    }
}

fn columns(cells: &[Cell]) -> usize {
    cells.iter().map(|cell| cell.width).sum()
}

/// Terminal columns of a character. The common double-width and zero-width blocks are enough to
/// keep a caret in place; a table of all of Unicode would be a dependency for one caret.
fn width(c: char) -> usize {
    match c as u32 {
        0x0300..=0x036f | 0x200b..=0x200f | 0x20d0..=0x20ff | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f
        | 0x2e80..=0x303e
        | 0x3041..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1f64f
        | 0x1f680..=0x1f6ff
        | 0x1f900..=0x1f9ff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::super::{Error, Position};

    fn check(text: &str, line: usize, column: usize, len: usize, hint: Option<&str>, out: Expect) {
        let mut error = Error::syntax("it is wrong");
        error.position = Some(Position { line, column, len });
        error.hint = hint.map(Into::into);
        out.assert_eq(&error.render(text));
    }

    #[test]
    fn caret_stands_under_the_place() {
        check(
            "SELECT pge, count(*) FROM clicks",
            1,
            8,
            3,
            Some("did you mean \"page\"?"),
            expect![[r#"
                error: it is wrong
                  1 | SELECT pge, count(*) FROM clicks
                    |        ^^^ did you mean "page"?"#]],
        );
    }

    #[test]
    fn only_the_line_in_question_is_shown() {
        check(
            "SELECT a,\r\n  b\r\nFROM c",
            2,
            3,
            99,
            None,
            expect![[r#"
                error: it is wrong
                  2 |   b
                    |   ^"#]],
        );
    }

    #[test]
    fn tabs_and_wide_characters_keep_the_caret_in_place() {
        check(
            "\tSELECT '日本', e\u{301}, x",
            1,
            19,
            1,
            None,
            expect![[r#"
                error: it is wrong
                  1 |     SELECT '日本', é, x
                    |                       ^"#]],
        );
        check(
            "a\u{7}b",
            1,
            2,
            1,
            None,
            expect![[r#"
                error: it is wrong
                  1 | a�b
                    |  ^"#]],
        );
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = format!("SELECT {} FROM t", "column, ".repeat(100));
        check(
            &text,
            1,
            408,
            6,
            None,
            expect![[r#"
                error: it is wrong
                  1 | …column, column, column, column, column, column, column, column, column, column, column, column, colu…
                    |                                          ^^^^^^"#]],
        );
    }

    #[test]
    fn a_place_past_the_end_is_the_end() {
        for (line, column) in [(1, 9), (1, 400), (7, 1)] {
            check(
                "SELECT a",
                line,
                column,
                1,
                None,
                expect![[r#"
                    error: it is wrong
                      1 | SELECT a
                        |         ^"#]],
            );
        }
        check(
            "",
            1,
            1,
            1,
            None,
            expect![[r#"
                error: it is wrong
                  1 | 
                    | ^"#]],
        );
    }

    #[test]
    fn without_a_place_the_hint_has_its_own_line() {
        let error = Error::invalid("too long").hint("split it");
        assert_eq!(error.render("SELECT"), "error: too long\n  split it");
    }
}

//! Errors and notes on standard error.

use std::borrow::Cow;
use std::io::Write;

use nu_ansi_term::{Color, Style};

use crate::output::text::escape_lines;
use crate::terminal::Terminal;

/// Prints what [`kappa_engine::Error::render`] gives.
pub(crate) fn report(terminal: &Terminal, rendered: &str) {
    let safe = escape_lines(rendered);
    let text = paint(&safe, terminal.colors_errors());
    // If standard error is gone there is nowhere left to complain.
    let _ = writeln!(terminal.stderr(), "{text}");
}

/// Prints a line that is no error.
pub(crate) fn note(terminal: &Terminal, text: &str) {
    let text = escape_lines(text);
    let shown = if terminal.colors_errors() {
        Style::new().dimmed().paint(text).to_string()
    } else {
        text.into_owned()
    };
    let _ = writeln!(terminal.stderr(), "{shown}");
}

/// Colours the word `error:` and the line with the caret.
fn paint(rendered: &str, color: bool) -> Cow<'_, str> {
    if !color {
        return Cow::Borrowed(rendered);
    }
    let red = Color::Red.bold();
    let lines = rendered.lines().enumerate().map(|(index, line)| {
        if index == 0
            && let Some(at) = line.find("error:")
        {
            let (place, rest) = line.split_at(at);
            let message = &rest["error:".len()..];
            return format!(
                "{place}{}{}",
                red.paint("error:"),
                Style::new().bold().paint(message)
            );
        }
        // `    |    ^^^ hint`
        match line.split_once("| ") {
            Some((gutter, marks))
                if gutter.trim().is_empty() && marks.trim_start().starts_with('^') =>
            {
                format!("{gutter}| {}", red.paint(marks))
            }
            _ => line.to_owned(),
        }
    });
    Cow::Owned(lines.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_error_and_the_caret_are_red() {
        let text =
            "a.sql:1:8: error: no such column\n  1 | SELECT x\n    |        ^ did you mean y?";
        assert_eq!(paint(text, false), text);
        expect_test::expect![[r#"a.sql:1:8: \e[1;31merror:\e[0m\e[1m no such column\e[0m
  1 | SELECT x
    | \e[1;31m       ^ did you mean y?\e[0m"#]]
        .assert_eq(&paint(text, true).replace('\u{1b}', "\\e"));
    }
}

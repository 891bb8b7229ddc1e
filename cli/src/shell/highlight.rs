//! Colours for what is typed.

use nu_ansi_term::{Color, Style};
use reedline::StyledText;

use super::token::{Kind, tokens};

/// Colours statements.
pub(super) struct Highlighter;

impl reedline::Highlighter for Highlighter {
    fn highlight(&self, line: &str, _cursor: usize) -> StyledText {
        let mut styled = StyledText::new();
        for (kind, range) in tokens(line) {
            let text = &line[range.clone()];
            let called = || line[range.end..].trim_start().starts_with('(');
            let style = match kind {
                Kind::Word if is_keyword(text) => Style::new().fg(Color::Cyan).bold(),
                Kind::Word if called() => Style::new().fg(Color::Blue),
                Kind::Text => Style::new().fg(Color::Green),
                Kind::Number => Style::new().fg(Color::Magenta),
                Kind::Variable => Style::new().fg(Color::Yellow),
                Kind::Comment => Style::new().fg(Color::DarkGray),
                Kind::Word | Kind::Name | Kind::Symbol | Kind::Blank => Style::new(),
            };
            styled.push((style, text.to_owned()));
        }
        styled
    }
}

/// Whether the dialect gives the word a meaning.
pub(super) fn is_keyword(word: &str) -> bool {
    kappa_engine::KEYWORDS
        .binary_search(&word.to_ascii_uppercase().as_str())
        .is_ok()
}

#[cfg(test)]
mod tests {
    use reedline::Highlighter as _;

    use super::*;

    #[test]
    fn a_statement_keeps_its_text() {
        let line = "select count(*), 'a' from t -- é\n where x = 1";
        let styled = Highlighter.highlight(line, 0);
        let text: String = styled
            .buffer
            .iter()
            .map(|(_, text)| text.as_str())
            .collect();
        assert_eq!(text, line);
        let style = |wanted: &str| {
            styled
                .buffer
                .iter()
                .find(|(_, text)| text == wanted)
                .map(|(style, _)| *style)
                .unwrap()
        };
        assert_eq!(style("select"), Style::new().fg(Color::Cyan).bold());
        assert_eq!(style("count"), Style::new().fg(Color::Blue));
        assert_eq!(style("'a'"), Style::new().fg(Color::Green));
        assert_eq!(style("t"), Style::new());
    }
}

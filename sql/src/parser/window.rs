//! The WINDOW clause.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::statement::StatementParser;
use super::tokens::Tokens;
use crate::ast::{Window, WindowKind};
use crate::error::{Error, Result};

pub(super) const WINDOWS: &[&str] = &["TUMBLING", "HOPPING", "SESSION", "SLIDING"];

/// What a WINDOW clause says, before it is known to make sense.
#[derive(Default)]
struct Options {
    size_ms: Option<i64>,
    advance_ms: Option<i64>,
    retention_ms: Option<i64>,
    grace_ms: Option<i64>,
}

impl StatementParser<'_> {
    /// `WINDOW TUMBLING (SIZE 1 MINUTE, …)`, of which WINDOW is next.
    pub(super) fn window(&mut self) -> Result<Window> {
        let first = self.index();
        self.skip();
        // A window may have a name, which nothing can use.
        if self.word_at(1).is_some_and(|word| WINDOWS.contains(&word)) {
            self.skip();
        }
        let word = match self.word() {
            Some(word) if WINDOWS.contains(&word) => word.to_owned(),
            _ => return Err(self.wanted_one_of(WINDOWS, " after WINDOW")),
        };
        self.skip();
        self.expect(&Token::LParen)?;
        let options = self.window_options(&word)?;
        if !self.eat(&Token::RParen) {
            return Err(self.wanted("\",\" or \")\""));
        }
        let span = self.span_from(first);
        let missing = |what: &str| Error::invalid(format!("a {word} window needs {what}")).at(span);
        let size_ms = options.size_ms.ok_or_else(|| {
            missing(if word == "SESSION" {
                "the gap that ends a session"
            } else {
                "a SIZE"
            })
        })?;
        let advance_ms = options.advance_ms;
        let kind = match word.as_str() {
            "TUMBLING" => WindowKind::Tumbling { size_ms },
            "HOPPING" => WindowKind::Hopping {
                size_ms,
                advance_ms: advance_ms.ok_or_else(|| missing("ADVANCE BY"))?,
            },
            "SESSION" => WindowKind::Session { gap_ms: size_ms },
            _ => WindowKind::Sliding {
                size_ms,
                advance_ms,
            },
        };
        if advance_ms.is_some_and(|advance_ms| advance_ms > size_ms) {
            return Err(Error::invalid("a window cannot advance by more than its size").at(span));
        }
        let Options {
            retention_ms,
            grace_ms,
            ..
        } = options;
        Ok(Window {
            kind,
            retention_ms,
            grace_ms,
            span,
        })
    }

    fn window_options(&mut self, window: &str) -> Result<Options> {
        let allowed: &[&str] = match window {
            "SESSION" => &["GAP", "RETENTION", "GRACE"],
            "TUMBLING" => &["SIZE", "RETENTION", "GRACE"],
            _ => &["SIZE", "ADVANCE", "RETENTION", "GRACE"],
        };
        let mut options = Options::default();
        loop {
            let first = self.index();
            let bare_gap =
                window == "SESSION" && matches!(self.token_at_offset(0), Token::Number(..));
            let word = match self.word() {
                _ if bare_gap => "GAP".to_owned(),
                Some(word) if allowed.contains(&word) => word.to_owned(),
                _ => return Err(self.wanted_one_of(allowed, &format!(" of a {window} window"))),
            };
            if !bare_gap {
                self.skip();
            }
            let option = match word.as_str() {
                "SIZE" => (
                    &mut options.size_ms,
                    self.positive_duration_ms("the size of a window")?,
                ),
                "GAP" => (&mut options.size_ms, self.positive_duration_ms("the gap")?),
                "ADVANCE" => {
                    self.expect_word("BY")?;
                    (
                        &mut options.advance_ms,
                        self.positive_duration_ms("the advance")?,
                    )
                }
                "RETENTION" => (
                    &mut options.retention_ms,
                    self.duration_ms("the retention")?,
                ),
                _ => {
                    self.eat_word("PERIOD");
                    (&mut options.grace_ms, self.duration_ms("the grace period")?)
                }
            };
            if option.0.replace(option.1).is_some() {
                let twice = format!("{word} is given twice");
                return Err(Error::invalid(twice).at(self.span_from(first)));
            }
            if !self.eat(&Token::Comma) {
                return Ok(options);
            }
        }
    }
}

//! FROM: a source, and what is joined to it.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::statement::StatementParser;
use super::tokens::Tokens;
use crate::ast::{Join, JoinKind, Relation, TableRef, Within};
use crate::error::Result;

impl StatementParser<'_> {
    /// What follows FROM.
    pub(super) fn relation(&mut self) -> Result<Relation> {
        let source = self.table_ref()?;
        let mut joins = Vec::new();
        while let Some(join) = self.join()? {
            joins.push(join);
        }
        if *self.token_at_offset(0) == Token::Comma {
            return Err(self.not_yet("a list of sources").hint("write JOIN … ON …"));
        }
        Ok(Relation { source, joins })
    }

    fn table_ref(&mut self) -> Result<TableRef> {
        if *self.token_at_offset(0) == Token::LParen {
            return Err(self
                .not_yet("a subquery")
                .hint("give it a name: CREATE STREAM … AS SELECT …"));
        }
        let name = self.name("the name of a stream or table")?;
        if *self.token_at_offset(0) == Token::Period {
            return Err(self
                .wanted("the end of the name")
                .hint("names have no schema here"));
        }
        let alias = self.alias()?;
        Ok(TableRef { name, alias })
    }

    /// `[LEFT] JOIN source [WITHIN …] ON condition`, if it is next.
    fn join(&mut self) -> Result<Option<Join>> {
        let first = self.index();
        let kind = match self.word() {
            Some("JOIN") => JoinKind::Inner,
            Some("INNER") => self.join_word(JoinKind::Inner),
            Some("LEFT") => self.join_word(JoinKind::Left),
            Some("RIGHT") => self.join_word(JoinKind::Right),
            Some("FULL") => self.join_word(JoinKind::Full),
            Some("CROSS") => return Err(self.not_yet("CROSS JOIN")),
            _ => return Ok(None),
        };
        self.expect_word("JOIN")?;
        let right = self.table_ref()?;
        let within = self.within()?;
        if self.word() == Some("USING") {
            return Err(self.not_yet("USING").hint("write ON a.id = b.id"));
        }
        if !self.eat_word("ON") {
            let wanted: &[&str] = if within.is_some() {
                &["ON"]
            } else {
                &["WITHIN", "ON"]
            };
            // A misspelt WITHIN looks like an alias.
            let misspelt = right
                .alias
                .as_ref()
                .and_then(|name| self.misspelt_name(name, wanted));
            return Err(misspelt
                .unwrap_or_else(|| self.wanted_one_of(wanted, " and the condition of the join")));
        }
        let on = self.expr()?;
        let span = self.span_from(first);
        Ok(Some(Join {
            kind,
            right,
            within,
            on,
            span,
        }))
    }

    /// `LEFT [OUTER]`
    fn join_word(&mut self, kind: JoinKind) -> JoinKind {
        self.skip();
        if kind != JoinKind::Inner {
            self.eat_word("OUTER");
        }
        kind
    }

    /// `WITHIN 1 HOUR [GRACE PERIOD 1 DAY]` or `WITHIN (1 HOUR, 2 HOURS) …`, if it is next.
    fn within(&mut self) -> Result<Option<Within>> {
        let first = self.index();
        if !self.eat_word("WITHIN") {
            return Ok(None);
        }
        let (before_ms, after_ms) = if self.eat(&Token::LParen) {
            let before_ms = self.duration_ms("the time before")?;
            self.expect(&Token::Comma)?;
            let after_ms = self.duration_ms("the time after")?;
            self.expect(&Token::RParen)?;
            (before_ms, after_ms)
        } else {
            let both_ms = self.duration_ms("the time between rows")?;
            (both_ms, both_ms)
        };
        let grace_ms = if self.eat_word("GRACE") {
            self.expect_word("PERIOD")?;
            Some(self.duration_ms("the grace period")?)
        } else {
            None
        };
        Ok(Some(Within {
            before_ms,
            after_ms,
            grace_ms,
            span: self.span_from(first),
        }))
    }
}

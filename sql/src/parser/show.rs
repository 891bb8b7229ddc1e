//! SHOW, DESCRIBE, EXPLAIN and PRINT: questions about what is there.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::keywords::STATEMENTS;
use super::statement::StatementParser;
use super::tokens::Tokens;
use crate::ast::{ExplainTarget, Kind, Name, Print, ShowKind, Statement};
use crate::error::{Error, Result};

const SHOWN: &[(&str, ShowKind)] = &[
    ("STREAMS", ShowKind::Streams),
    ("TABLES", ShowKind::Tables),
    ("QUERIES", ShowKind::Queries),
    ("TOPICS", ShowKind::Topics { all: false }),
    ("FUNCTIONS", ShowKind::Functions),
    ("PROPERTIES", ShowKind::Properties),
    ("SINKS", ShowKind::Sinks),
    ("TYPES", ShowKind::Types),
    ("VARIABLES", ShowKind::Variables),
];

impl StatementParser<'_> {
    pub(super) fn show(&mut self) -> Result<Statement> {
        let verb = self.word().unwrap_or("SHOW").to_owned();
        self.skip();
        let all = self.word() == Some("ALL") && self.word_at(1) == Some("TOPICS");
        if all {
            self.skip();
        }
        let kind = self
            .word()
            .and_then(|word| SHOWN.iter().find(|(name, _)| *name == word));
        let Some((_, kind)) = kind else {
            if matches!(self.word(), Some("CONNECTORS" | "CONNECTOR")) {
                return Err(
                    Error::unsupported("connectors of Kafka Connect are not supported")
                        .at(self.span())
                        .hint("SHOW SINKS lists the sinks"),
                );
            }
            let words: Vec<&str> = SHOWN.iter().map(|(word, _)| *word).collect();
            return Err(self.wanted_one_of(&words, &format!(" after {verb}")));
        };
        self.skip();
        let kind = if all { ShowKind::Topics { all } } else { *kind };
        let extended = self.extended(matches!(
            kind,
            ShowKind::Streams | ShowKind::Tables | ShowKind::Queries | ShowKind::Topics { .. }
        ))?;
        Ok(Statement::Show { kind, extended })
    }

    fn extended(&mut self, possible: bool) -> Result<bool> {
        if self.word() == Some("EXTENDED") && !possible {
            return Err(Error::invalid("there is nothing more to show here").at(self.span()));
        }
        Ok(self.eat_word("EXTENDED"))
    }

    pub(super) fn describe(&mut self) -> Result<Statement> {
        self.skip();
        // The word is the last one unless the thing is called so.
        let kind = match self.word() {
            Some("STREAMS") => Some(Kind::Stream),
            Some("TABLES") => Some(Kind::Table),
            _ => None,
        };
        if let Some(kind) = kind {
            self.skip();
            let extended = self.eat_word("EXTENDED");
            return Ok(Statement::DescribeAll { kind, extended });
        }
        let more = matches!(self.token_at_offset(1), Token::Word(_));
        if self.word() == Some("FUNCTION") && more {
            self.skip();
            return Ok(Statement::DescribeFunction(
                self.name("the name of a function")?,
            ));
        }
        // DESCRIBE TABLE t is what other systems say.
        if matches!(self.word(), Some("STREAM" | "TABLE" | "SINK")) && more {
            self.skip();
        }
        let first = self.word() == Some("EXTENDED") && more;
        if first {
            self.skip();
        }
        let name = self.name("the name of a stream, table, sink or query")?;
        let extended = self.eat_word("EXTENDED") || first;
        Ok(Statement::Describe { name, extended })
    }

    pub(super) fn explain(&mut self) -> Result<Statement> {
        self.skip();
        let analyze = self.word() == Some("ANALYZE") && *self.token_at_offset(1) != Token::EOF;
        if analyze {
            self.skip();
        }
        if matches!(self.word(), Some("EXPLAIN")) {
            return Err(self.wanted("a statement or the id of a query"));
        }
        let starts = self.word().is_some_and(|word| STATEMENTS.contains(&word))
            && *self.token_at_offset(1) != Token::EOF;
        if starts || *self.token_at_offset(0) == Token::LParen {
            let inner = Box::new(self.parsed()?);
            return Ok(Statement::Explain {
                analyze,
                target: ExplainTarget::Statement(inner),
            });
        }
        let target = ExplainTarget::Query(self.query_id()?);
        Ok(Statement::Explain { analyze, target })
    }

    /// The id of a query: a name, or text in single quotes.
    pub(super) fn query_id(&mut self) -> Result<Name> {
        let span = self.span();
        if let Token::SingleQuotedString(id) = self.token_at_offset(0) {
            let name = Name {
                value: id.clone(),
                quoted: true,
                span,
            };
            self.skip();
            return Ok(name);
        }
        self.name("the id of a query")
    }

    pub(super) fn print(&mut self) -> Result<Statement> {
        self.skip();
        let (topic, topic_span) = self.topic()?;
        let from_beginning = self.eat_words(&["FROM", "BEGINNING"]);
        let mut print = Print {
            topic,
            topic_span,
            from_beginning,
            interval: None,
            limit: None,
        };
        if self.eat_word("INTERVAL") || self.eat_word("SAMPLE") {
            let (interval, span) = self.integer("the interval")?;
            if interval == 0 {
                return Err(Error::invalid("the interval must be at least 1").at(span));
            }
            print.interval = Some(interval);
        }
        if self.eat_word("LIMIT") {
            print.limit = Some(self.integer("the limit")?.0);
        }
        if !self.at_end() {
            let wanted = &["FROM BEGINNING", "INTERVAL", "LIMIT"];
            return Err(self.wanted_one_of(wanted, " or the end of the statement"));
        }
        Ok(Statement::Print(print))
    }
}

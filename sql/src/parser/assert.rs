//! ASSERT: scripts that stop when something is not there.

use super::statement::StatementParser;
use super::tokens::Tokens;
use crate::ast::Statement;
use crate::error::{Error, Result};

impl StatementParser<'_> {
    pub(super) fn assert(&mut self) -> Result<Statement> {
        self.skip();
        let exists = !self.eat_words(&["NOT", "EXISTS"]);
        match self.word() {
            Some("TOPIC") => {
                self.skip();
                let (topic, _) = self.topic()?;
                let with = self.with()?;
                let timeout_ms = self.timeout()?;
                Ok(Statement::AssertTopic {
                    exists,
                    topic,
                    with,
                    timeout_ms,
                })
            }
            Some("SCHEMA") => self.assert_schema(exists),
            Some("VALUES" | "NULL" | "STREAM" | "TABLE") => {
                Err(Error::unsupported("this ASSERT is for ksqlDB's test runner").at(self.span()))
            }
            _ => Err(self.wanted_one_of(&["TOPIC", "SCHEMA"], " after ASSERT")),
        }
    }

    fn assert_schema(&mut self, exists: bool) -> Result<Statement> {
        self.skip();
        let subject = if self.eat_word("SUBJECT") {
            Some(self.topic()?.0)
        } else {
            None
        };
        let id = if self.eat_word("ID") {
            Some(self.integer("the id of a schema")?.0)
        } else {
            None
        };
        if subject.is_none() && id.is_none() {
            return Err(self.wanted_one_of(&["SUBJECT", "ID"], ""));
        }
        let timeout_ms = self.timeout()?;
        Ok(Statement::AssertSchema {
            exists,
            subject,
            id,
            timeout_ms,
        })
    }

    fn timeout(&mut self) -> Result<Option<i64>> {
        if self.eat_word("TIMEOUT") {
            self.duration_ms("the timeout").map(Some)
        } else {
            Ok(None)
        }
    }
}

//! A session: statements one after the other, with properties and variables of its own.

use std::collections::HashMap;

use kappa_sql::ast::Parsed;
use kappa_sql::parser::{self, Shape, Splitter};

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::property::Properties;
use crate::pull;
use crate::response::Response;
use crate::statement;

/// A session.
#[derive(Clone, Debug)]
pub struct Session {
    pub(crate) engine: Engine,
    pub(crate) properties: Properties,
    pub(crate) variables: HashMap<String, String>,
}

impl Session {
    pub(crate) fn new(engine: Engine) -> Self {
        let properties = engine.inner.properties.clone();
        Self {
            engine,
            properties,
            variables: HashMap::new(),
        }
    }

    /// Carries out one statement. A `;` at its end may be there.
    ///
    /// # Errors
    /// A statement that cannot be carried out: what is wrong, where in `sql`, and what to do.
    pub async fn execute(&mut self, sql: &str) -> Result<Response> {
        let sql = parser::substitute(sql, &self.variables);
        let shape = Shape::of(&sql);
        if let Some(shape) = &shape
            && let Some(rows) = pull::answer_shape(&self.engine, shape)?
        {
            return Ok(Response::Rows(rows));
        }
        let parsed = self.parse(&sql)?;
        if let Some(shape) = &shape {
            pull::learn(&self.engine, shape, &parsed.statement)?;
        }
        // An error shows the statement, but not its secrets.
        let shown = crate::sink::secret::mask(&sql, &parsed);
        statement::execute(self, parsed)
            .await
            .map_err(|error| point_into(error, &shown))
    }

    /// Carries out a script's statements one after the other. Rows that it answers are read to
    /// their end and dropped; a push query cannot be in it.
    ///
    /// # Errors
    /// The first statement that cannot be carried out; those before it are done.
    pub async fn run_script(&mut self, script: &str) -> Result<()> {
        for piece in Splitter::new(script) {
            if piece.text.trim().is_empty() {
                continue;
            }
            match self.execute(piece.text).await {
                Ok(Response::Rows(rows)) => drop(rows.collect().await?),
                Ok(_) => {}
                // Only comments.
                Err(Error::User(message)) if message == NOTHING => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn parse(&self, sql: &str) -> Result<Parsed> {
        let types = self.engine.inner.catalog.read().types.clone();
        let script =
            parser::parse_with(sql, &types).map_err(|error| Error::statement(error, sql))?;
        let mut statements = script.0.into_iter();
        match (statements.next(), statements.next()) {
            (Some(only), None) => Ok(only),
            (None, _) => Err(Error::User(NOTHING.into())),
            (Some(_), Some(second)) => {
                let error = kappa_sql::Error::syntax("one statement at a time, please");
                let mut error = Error::statement(error, sql);
                if let Error::Statement { error, .. } = &mut error {
                    error.position = Some(kappa_sql::error::Position {
                        line: second.line,
                        column: second.column,
                        len: 1,
                    });
                }
                Err(error)
            }
        }
    }
}

const NOTHING: &str = "there is no statement here";

/// Gives a statement's error the text that it is about.
fn point_into(error: Error, sql: &str) -> Error {
    match error {
        Error::Statement { error, .. } => Error::statement(error, sql),
        other => other,
    }
}

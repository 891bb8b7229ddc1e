//! What parses and into what, what does not and what is said about it.

mod corpus;
mod errors;
mod expressions;
mod fuzz;
mod limits;
mod statements;

use expect_test::Expect;

use super::parse;
use crate::ast::{Parsed, Statement};

/// The only statement of a text.
fn one(text: &str) -> Parsed {
    match parse(text) {
        Ok(script) => {
            assert_eq!(script.0.len(), 1, "{text}");
            script.0.into_iter().next().unwrap()
        }
        Err(error) => panic!("{}", error.render(text)),
    }
}

fn statement(text: &str) -> Statement {
    one(text).statement
}

/// What a user sees who writes that.
fn refused(text: &str, out: Expect) {
    match parse(text) {
        Ok(script) => panic!("{text} parses: {script:?}"),
        Err(error) => out.assert_eq(&error.render(text)),
    }
}

//! Statements: one file for each family of them.

pub(crate) mod create_as;
mod create_source;
mod describe;
mod drop;
mod explain;
mod insert_values;
mod listing;
mod print;
mod query_control;
mod select;
mod set;
mod show;
pub(crate) mod sink;
mod topic;
mod types;

use kappa_sql::ast::{Parsed, QuerySelector, Statement};

use crate::error::{Error, Result};
use crate::response::Response;
use crate::session::Session;

/// Carries out a statement.
pub(crate) async fn execute(session: &mut Session, parsed: Parsed) -> Result<Response> {
    match &parsed.statement {
        Statement::CreateSource { .. } => create_source::run(session, &parsed).await,
        Statement::CreateAs { .. } => create_as::run(session, &parsed).await,
        Statement::InsertSelect { .. } => create_as::run_insert(session, &parsed).await,
        Statement::InsertValues { .. } => insert_values::run(session, &parsed).await,
        Statement::Drop { .. } => drop::run(session, &parsed).await,
        Statement::Terminate(which) => query_control::terminate(session, which).await,
        Statement::Pause(QuerySelector::Sink(name)) => sink::pause(session, name, true).await,
        Statement::Resume(QuerySelector::Sink(name)) => sink::pause(session, name, false).await,
        Statement::Pause(which) => query_control::pause(session, which, true).await,
        Statement::Resume(which) => query_control::pause(session, which, false).await,
        Statement::Show { kind, extended } => show::run(session, *kind, *extended).await,
        Statement::Describe { name, extended } => describe::run(session, name, *extended).await,
        Statement::DescribeFunction(name) => describe::function(name),
        Statement::Explain { analyze, target } => explain::run(session, *analyze, target).await,
        Statement::Print(print) => print::run(session, print).await,
        Statement::Set { key, value, .. } => set::set(session, key, value),
        Statement::Unset { key, .. } => set::unset(session, key),
        Statement::Define { name, value } => Ok(set::define(session, name, value)),
        Statement::Undefine(name) => Ok(set::undefine(session, name)),
        Statement::Push(_) => select::push(session, &parsed).await,
        Statement::Pull(query) => select::pull(session, query).await,
        Statement::CreateType { .. } => types::create(session, &parsed.statement).await,
        Statement::CreateSink { .. } => sink::create(session, &parsed).await,
        Statement::AlterSource { name, .. } => Err(not_yet("ALTER", name.span)),
        Statement::DescribeAll { kind, extended } => {
            let kind = match kind {
                kappa_sql::ast::Kind::Stream => kappa_sql::ast::ShowKind::Streams,
                kappa_sql::ast::Kind::Table => kappa_sql::ast::ShowKind::Tables,
            };
            show::run(session, kind, *extended).await
        }
        Statement::AssertTopic { .. } | Statement::AssertSchema { .. } => {
            Err(not_yet("ASSERT", kappa_sql::ast::Span::empty()))
        }
    }
}

fn not_yet(what: &str, span: kappa_sql::ast::Span) -> Error {
    fail(kappa_sql::Error::unsupported(format!("{what} is not there yet")).at(span))
}

/// A statement's error; the session adds the text.
pub(crate) fn fail(error: kappa_sql::Error) -> Error {
    Error::statement(error, "")
}

//! SET, UNSET, DEFINE and UNDEFINE: the session's own.

use kappa_sql::ast::Name;

use crate::error::Result;
use crate::response::Response;
use crate::session::Session;

pub(super) fn set(session: &mut Session, key: &str, value: &str) -> Result<Response> {
    session.properties.set(key, value)?;
    Ok(Response::Done(format!(
        "'{key}' is '{value}' for the statements of this session"
    )))
}

pub(super) fn unset(session: &mut Session, key: &str) -> Result<Response> {
    session.properties.unset(key)?;
    Ok(Response::Done(format!("'{key}' has its default again")))
}

pub(super) fn define(session: &mut Session, name: &Name, value: &str) -> Response {
    session
        .variables
        .insert(name.value.clone(), value.to_owned());
    Response::Done(format!("${{{name}}} is defined"))
}

pub(super) fn undefine(session: &mut Session, name: &Name) -> Response {
    match session.variables.remove(&name.value) {
        Some(_) => Response::Done(format!("${{{name}}} is not defined any more")),
        None => Response::Done(format!("${{{name}}} was not defined")),
    }
}

//! CREATE TYPE and DROP TYPE.

use kappa_sql::ast::{Name, Statement};
use kappa_storage::store::Durability;

use super::fail;
use crate::error::{Error, Result};
use crate::response::Response;
use crate::session::Session;

pub(super) async fn create(session: &Session, statement: &Statement) -> Result<Response> {
    let Statement::CreateType {
        if_not_exists,
        name,
        data_type,
    } = statement
    else {
        return Err(Error::Internal("not a CREATE TYPE".into()));
    };
    let inner = &session.engine.inner;
    let _ddl = inner.ddl.lock().await;
    if inner.catalog.read().types.contains_key(&name.value) {
        if *if_not_exists {
            return Ok(Response::Done(format!("type {name} exists already")));
        }
        return Err(fail(
            kappa_sql::Error::invalid(format!("a type {name} is registered already")).at(name.span),
        ));
    }
    let mut commit = inner.store.begin();
    let key = format!("type/{}", name.value);
    commit.put_meta(key.as_bytes(), &serde_json::to_vec(data_type)?);
    inner.store.commit(commit, Durability::Sync)?;
    inner
        .catalog
        .write()
        .types
        .insert(name.value.clone(), data_type.clone());
    Ok(Response::Done(format!("type {name} is {data_type}")))
}

pub(super) async fn drop(session: &Session, name: &Name, if_exists: bool) -> Result<Response> {
    let inner = &session.engine.inner;
    let _ddl = inner.ddl.lock().await;
    if !inner.catalog.read().types.contains_key(&name.value) {
        if if_exists {
            return Ok(Response::Done(format!("there is no type {name}")));
        }
        return Err(fail(
            kappa_sql::Error::unknown(format!("there is no type {name}")).at(name.span),
        ));
    }
    let mut commit = inner.store.begin();
    commit.delete_meta(format!("type/{}", name.value).as_bytes());
    inner.store.commit(commit, Durability::Sync)?;
    inner.catalog.write().types.remove(&name.value);
    Ok(Response::Done(format!("type {name} dropped")))
}

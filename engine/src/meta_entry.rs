//! What the store keeps as JSON under a name: how far somebody has come, and the like.

use kappa_storage::store::{Commit, View};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Result;

/// An entry of a kind, `<kind>/<name>`, that becomes durable with the commit it is written in.
pub(crate) trait MetaEntry: Serialize + DeserializeOwned {
    /// What the keys of its kind begin with.
    const KIND: &'static str;

    /// What the last commit has of `name`.
    fn read(view: &impl View, name: &str) -> Result<Option<Self>> {
        let bytes = view.get_meta(&key::<Self>(name))?;
        let entry = bytes.map(|bytes| serde_json::from_slice(&bytes));
        Ok(entry.transpose()?)
    }

    /// Writes it into a commit.
    fn write(&self, name: &str, commit: &mut Commit) -> Result<()> {
        commit.put_meta(&key::<Self>(name), &serde_json::to_vec(self)?);
        Ok(())
    }

    /// Removes it in a commit.
    fn delete(name: &str, commit: &mut Commit) {
        commit.delete_meta(&key::<Self>(name));
    }
}

fn key<E: MetaEntry>(name: &str) -> Vec<u8> {
    format!("{}/{name}", E::KIND).into_bytes()
}

//! MERGE: applies a unit's changes to a table by key, once, whoever else tries the same.
//!
//! The changes are loaded into a table of the unit's own. Then one transaction takes the unit's
//! number from the sink's progress table and merges; one that finds the number taken does nothing.
//! So a statement of a dead process that Snowflake carries out late, after newer units even,
//! changes nothing. The transaction is sent as one block: it ends by itself, whatever becomes of
//! its sender, and leaves no lock behind.

mod statement;

use self::statement::{ROWDELETED, ROWSEQ, block, merge};
use super::name::{ObjectName, literal, quote};
use super::session::Session;
use super::table::Column;
use super::{StagedFile, copy, random, stage::Stage};
use crate::{Error, Result};

/// Names of columns that changes have and rows do not.
pub(crate) const RESERVED: [&str; 2] = [ROWDELETED, ROWSEQ];

/// How changes get into a table.
#[derive(Debug)]
pub(crate) struct Merge {
    target: ObjectName,
    columns: Vec<Column>,
    keep_column_case: bool,
    /// `KAPPA_<sink>_<mark>`: what the names of its tables begin with.
    own_name: String,
    progress: ObjectName,
    swept: bool,
}

impl Merge {
    pub(crate) fn new(
        target: ObjectName,
        columns: Vec<Column>,
        keep_column_case: bool,
        own_name: &str,
    ) -> Self {
        Self {
            progress: target.beside(format!("{own_name}_PROGRESS")),
            own_name: own_name.to_owned(),
            target,
            columns,
            keep_column_case,
            swept: false,
        }
    }

    /// Makes the progress table where it is not there.
    pub(crate) async fn open(&mut self, session: &mut Session) -> Result<()> {
        let progress = &self.progress;
        let what = format!("make table {progress} in Snowflake");
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS {progress} (\"UNIT\" NUMBER(20,0), \"TRY\" VARCHAR)"
        );
        session.run(&what, &sql).await?;
        // Looked at first: an INSERT might have to wait for another process's lock. Two processes
        // at once may both insert a row: both rows are then counted up together.
        let sql = format!("SELECT COUNT(*) FROM {progress}");
        let answer = session.run(&what, &sql).await?;
        if answer.value() == Some("0") {
            let sql = format!("INSERT INTO {progress} (\"UNIT\", \"TRY\") VALUES (-1, '')");
            session.run(&what, &sql).await?;
        }
        Ok(())
    }

    /// Applies the unit's changes unless that was done.
    pub(crate) async fn commit(
        &mut self,
        session: &mut Session,
        stage: &Stage,
        number: u64,
        files: &[StagedFile],
    ) -> Result<()> {
        let staging = self.staging(number);
        if !self.is_done(session, number).await? {
            let what = format!("make table {staging} in Snowflake");
            session.run(&what, &self.create_staging(&staging)).await?;
            copy::load(session, stage, &staging, files, self.keep_column_case).await?;
            self.apply(session, number, &staging).await?;
        }
        self.tidy(session, number).await;
        Ok(())
    }

    async fn is_done(&self, session: &mut Session, number: u64) -> Result<bool> {
        Ok(self.last(session).await? >= i128::from(number))
    }

    /// The last unit that was applied; -1 when none was.
    pub(crate) async fn last(&self, session: &mut Session) -> Result<i128> {
        let what = format!("read the progress in {}", self.progress);
        let sql = format!("SELECT MAX(\"UNIT\") FROM {}", self.progress);
        let answer = session.run(&what, &sql).await?;
        let unit = answer.value().and_then(|unit| unit.parse().ok());
        unit.ok_or_else(|| {
            Error::external(
                &what,
                "it has no row: put one back with the last unit's number",
            )
        })
    }

    fn staging(&self, number: u64) -> ObjectName {
        self.target.beside(format!("{}_{number}", self.own_name))
    }

    /// Never replaced: a load that a dead process began goes on in the same table, which knows the
    /// files it has.
    fn create_staging(&self, staging: &ObjectName) -> String {
        let columns = self.columns.iter();
        let own: Vec<_> = columns
            .map(|c| format!("{} {}", quote(&c.name), c.sql_type))
            .collect();
        format!(
            "CREATE TRANSIENT TABLE IF NOT EXISTS {staging} ({}, {ROWDELETED} BOOLEAN, \
             {ROWSEQ} NUMBER(38,0))",
            own.join(", ")
        )
    }

    async fn apply(
        &mut self,
        session: &mut Session,
        number: u64,
        staging: &ObjectName,
    ) -> Result<()> {
        let what = format!("merge unit {number} into table {}", self.target);
        let progress = &self.progress;
        // The id of this try, that another's with the same number is told from.
        let id = literal(&random::uuid()?);
        let take = format!(
            "UPDATE {progress} SET \"UNIT\" = {number}, \"TRY\" = {id} WHERE \"UNIT\" < {number}"
        );
        let taken = format!(
            "EXISTS (SELECT 1 FROM {progress} WHERE \"UNIT\" = {number} AND \"TRY\" = {id})"
        );
        let merge = merge(&self.target, staging, &self.columns, &taken);
        session.run(&what, &block(&[take, merge])?).await?;
        Ok(())
    }

    /// Drops the tables of units that are done. Best effort: the next start does what is left.
    async fn tidy(&mut self, session: &mut Session, number: u64) {
        let mut old = vec![self.staging(number)];
        if !self.swept {
            self.swept = true;
            old.extend(self.left_over(session, number).await);
        }
        for table in old {
            let sql = format!("DROP TABLE IF EXISTS {table}");
            let _ = session.run(&format!("drop table {table}"), &sql).await;
        }
    }

    /// Tables of earlier units that a process died before dropping.
    async fn left_over(&self, session: &mut Session, number: u64) -> Vec<ObjectName> {
        let prefix = format!("{}_", self.own_name);
        let pattern = literal(&format!("{prefix}%"));
        let schema = (quote(&self.target.database), quote(&self.target.schema));
        let sql = format!(
            "SHOW TABLES LIKE {pattern} IN SCHEMA {}.{}",
            schema.0, schema.1
        );
        let Ok(answer) = session.run("look for tables of old units", &sql).await else {
            return Vec::new();
        };
        let names = answer
            .rows()
            .iter()
            .filter_map(|row| answer.cell(row, "name"));
        let unit = |name: &str| name.strip_prefix(&prefix)?.parse::<u64>().ok();
        let old = names.filter_map(unit).filter(|unit| *unit < number);
        old.map(|unit| self.staging(unit)).collect()
    }
}

//! The checks of other files once more, against real accounts, where the environment names one.
//! `CONTRIBUTING.md` says how to run them. Each works in a schema or a folder of its own, with
//! a name by chance, which is removed at the end; a test that finds no account says so.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use kappa_tests::account::Account;
use kappa_tests::bucket::Bucket;
use kappa_tests::readers::Readers;
use tokio::runtime::Runtime;

use crate::fan_out::snowflake_appends_and_merges_once;
use crate::readers::everything_is_found;
use crate::sinks::{Place, rows_survive};
use crate::snowflake::{self, Server};

/// What a variable says; `None`, said on standard error, when it is not set.
fn asked(test: &str, variable: &str) -> Option<String> {
    let value = std::env::var(variable).ok().filter(|text| !text.is_empty());
    if value.is_none() {
        eprintln!("{test}: left out, since {variable} is not set");
    }
    value
}

fn own_name() -> String {
    format!(
        "kappa_live_{:016x}",
        RandomState::new().build_hasher().finish()
    )
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    Runtime::new().unwrap().block_on(work)
}

/// Checks, then cleans up, then fails if the check did.
fn and_then_clean(check: impl FnOnce(), clean: impl FnOnce()) {
    let checked = catch_unwind(AssertUnwindSafe(check));
    clean();
    if let Err(failure) = checked {
        resume_unwind(failure);
    }
}

/// In a schema of its own of the account that `SNOWFLAKE_…` names.
fn in_schema(test: &str, check: impl FnOnce(Account)) {
    if asked(test, "KAPPA_LIVE_SNOWFLAKE").is_none() {
        return;
    }
    let Some(account) = Account::of_environment().unwrap() else {
        panic!("KAPPA_LIVE_SNOWFLAKE is set: set SNOWFLAKE_ACCOUNT, SNOWFLAKE_USER, … too");
    };
    let own = account.with_schema(&own_name().to_uppercase());
    let schema = own.schema();
    block_on(account.query(&format!("CREATE SCHEMA {schema}"))).unwrap();
    and_then_clean(
        || check(own),
        || drop(block_on(account.query(&format!("DROP SCHEMA {schema} CASCADE"))).unwrap()),
    );
}

/// In a folder of its own of the bucket that the variable names.
fn in_folder(test: &str, variable: &str, check: impl FnOnce(&Place)) {
    let Some(path) = asked(test, variable) else {
        return;
    };
    let own = own_name();
    let bucket = || Bucket::of_environment(&path).unwrap().folder(&own);
    let place = Place::Bucket(bucket());
    and_then_clean(|| check(&place), || block_on(bucket().clear()).unwrap());
}

#[test]
fn a_real_account_has_rows_appended_once() {
    in_schema("a_real_account_has_rows_appended_once", |account| {
        block_on(snowflake::appends_once(&Server::of(account)));
    });
}

#[test]
fn a_real_account_has_changes_merged() {
    in_schema("a_real_account_has_changes_merged", |account| {
        block_on(snowflake::merges_by_key(&Server::of(account)));
    });
}

#[test]
fn a_real_account_has_keys_that_are_null() {
    in_schema("a_real_account_has_keys_that_are_null", |account| {
        block_on(snowflake::merges_keys_that_are_null(&Server::of(account)));
    });
}

#[test]
fn a_real_account_gets_new_columns() {
    in_schema("a_real_account_gets_new_columns", |account| {
        block_on(snowflake::adds_columns_on_request(&Server::of(account)));
    });
}

#[test]
fn a_real_account_takes_all_types() {
    in_schema("a_real_account_takes_all_types", |account| {
        block_on(snowflake::takes_all_types(&Server::of(account)));
    });
}

#[test]
fn a_real_account_keeps_the_case_of_names() {
    in_schema("a_real_account_keeps_the_case_of_names", |account| {
        block_on(snowflake::keeps_case_on_request(&Server::of(account)));
    });
}

#[test]
fn a_real_account_has_everything_once_through_restarts_and_crashes() {
    let test = "a_real_account_has_everything_once_through_restarts_and_crashes";
    in_schema(test, |account| snowflake_appends_and_merges_once(&account));
}

#[test]
fn rows_reach_a_real_bucket_of_s3_once() {
    let test = "rows_reach_a_real_bucket_of_s3_once";
    in_folder(test, "KAPPA_LIVE_S3", rows_survive);
}

#[test]
fn rows_reach_a_real_bucket_of_google_once() {
    let test = "rows_reach_a_real_bucket_of_google_once";
    in_folder(test, "KAPPA_LIVE_GCS", rows_survive);
}

#[test]
fn rows_reach_a_real_container_of_azure_once() {
    let test = "rows_reach_a_real_container_of_azure_once";
    in_folder(test, "KAPPA_LIVE_AZURE", rows_survive);
}

/// All types through a bucket, found there by DuckDB and pyarrow.
fn types_reach(test: &str, variable: &str) {
    in_folder(test, variable, |place| {
        if let Some(readers) = Readers::find().unwrap() {
            everything_is_found(&readers, place);
        }
    });
}

#[test]
fn all_types_reach_a_real_bucket_of_s3() {
    types_reach("all_types_reach_a_real_bucket_of_s3", "KAPPA_LIVE_S3");
}

#[test]
fn all_types_reach_a_real_bucket_of_google() {
    types_reach("all_types_reach_a_real_bucket_of_google", "KAPPA_LIVE_GCS");
}

#[test]
fn all_types_reach_a_real_container_of_azure() {
    types_reach(
        "all_types_reach_a_real_container_of_azure",
        "KAPPA_LIVE_AZURE",
    );
}

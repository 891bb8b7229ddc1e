//! The settings of a Postgres sink, from the names and values of its `WITH` clause.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use url::Url;

use super::name::Table;
use crate::distance::distance;
use crate::{Error, Result};

const NAMES: [&str; 13] = [
    "URL",
    "HOST",
    "PORT",
    "DATABASE",
    "USER",
    "PASSWORD",
    "TABLE",
    "SSLMODE",
    "SSLROOTCERT",
    "CREATE_TABLE",
    "SCHEMA_EVOLUTION",
    "MODE",
    "KEEP_COLUMN_CASE",
];

/// Whether the value of the option must not be shown. A URL may have a password in it.
pub fn is_secret(name: &str) -> bool {
    matches!(name, "PASSWORD" | "URL")
}

/// How much of TLS is wanted, by the names that Postgres gives it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum SslMode {
    Disable,
    #[default]
    Prefer,
    Require,
    VerifyFull,
}

/// What happens to the changes of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Append,
    Upsert,
}

/// Settings of a Postgres sink.
#[derive(Clone)]
pub struct PostgresOptions {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) database: String,
    pub(super) user: String,
    pub(super) password: Option<String>,
    /// None: named after the sink.
    pub(super) table: Option<Table>,
    pub(super) ssl_mode: SslMode,
    pub(super) ssl_root_cert: Option<PathBuf>,
    pub(super) create_table: bool,
    pub(super) schema_evolution: bool,
    /// None: upsert where there are keys.
    pub(super) mode: Option<Mode>,
    pub(super) keep_column_case: bool,
}

/// Without the password.
impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresOptions({})", self.place())
    }
}

impl PostgresOptions {
    /// Reads them from upper-case names and their values.
    ///
    /// # Errors
    /// `User`: a name that is not known, a value that cannot be, or no host, database or user.
    pub fn try_new(options: &BTreeMap<String, String>) -> Result<Self> {
        for name in options.keys() {
            if !NAMES.contains(&name.as_str()) {
                return Err(Error::User(unknown(name)));
            }
        }
        let mut values = match options.get("URL") {
            Some(url) => from_url(url)?,
            None => BTreeMap::new(),
        };
        for (name, value) in options.iter().filter(|(name, _)| *name != "URL") {
            values.insert(name.clone(), value.clone());
        }
        let get = |name: &str| values.get(name).map(String::as_str);
        let need = |name: &str| match get(name).filter(|value| !value.is_empty()) {
            Some(value) => Ok(value.to_owned()),
            None => Err(Error::User(format!(
                "a Postgres sink needs {name} (or URL with it)"
            ))),
        };
        let port = get("PORT").unwrap_or("5432");
        let user = need("USER")?;
        Ok(Self {
            host: need("HOST")?,
            port: port
                .parse()
                .map_err(|_| wrong("PORT", port, "a number from 1 to 65535"))?,
            database: get("DATABASE").unwrap_or(&user).to_owned(),
            user,
            password: get("PASSWORD").map(str::to_owned),
            table: get("TABLE").map(Table::parse).transpose()?,
            ssl_mode: match get("SSLMODE") {
                None => SslMode::default(),
                Some("disable") => SslMode::Disable,
                Some("prefer") => SslMode::Prefer,
                Some("require") => SslMode::Require,
                Some("verify-full") => SslMode::VerifyFull,
                Some(other) => {
                    let known = "disable, prefer, require or verify-full";
                    return Err(wrong("SSLMODE", other, known));
                }
            },
            ssl_root_cert: get("SSLROOTCERT").map(PathBuf::from),
            create_table: flag(&values, "CREATE_TABLE", true)?,
            schema_evolution: flag(&values, "SCHEMA_EVOLUTION", false)?,
            mode: match get("MODE").map(str::to_ascii_lowercase).as_deref() {
                None => None,
                Some("append") => Some(Mode::Append),
                Some("upsert") => Some(Mode::Upsert),
                Some(other) => return Err(wrong("MODE", other, "append or upsert")),
            },
            keep_column_case: flag(&values, "KEEP_COLUMN_CASE", false)?,
        })
    }

    /// Where it writes, for messages: `table "t" of postgres://host:5432/database`.
    pub fn place(&self) -> String {
        match &self.table {
            Some(table) => format!("table {table} of {}", self.server()),
            None => self.server(),
        }
    }

    /// Which database, for messages.
    pub(super) fn server(&self) -> String {
        format!("postgres://{}:{}/{}", self.host, self.port, self.database)
    }
}

/// The parts of a URL under the options' names. Its errors do not repeat it: it may hold a password.
fn from_url(text: &str) -> Result<BTreeMap<String, String>> {
    let form = "postgres://user:password@host:5432/database?sslmode=require";
    let refuse = |why: &str| Error::User(format!("URL: {why}; it looks like {form}"));
    let url = Url::parse(text).map_err(|error| refuse(&error.to_string()))?;
    if !matches!(url.scheme(), "postgres" | "postgresql") {
        return Err(refuse("it is not one of Postgres"));
    }
    let decoded = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
    let mut values = BTreeMap::new();
    let mut set = |name: &str, value: String| {
        if !value.is_empty() {
            values.insert(name.to_owned(), value);
        }
    };
    let host = url.host_str().unwrap_or_default();
    set(
        "HOST",
        decoded(host.trim_start_matches('[').trim_end_matches(']')),
    );
    set(
        "PORT",
        url.port().map_or_else(String::new, |port| port.to_string()),
    );
    set("DATABASE", decoded(url.path().trim_start_matches('/')));
    set("USER", decoded(url.username()));
    set("PASSWORD", decoded(url.password().unwrap_or_default()));
    for (name, value) in url.query_pairs() {
        match name.as_ref() {
            "sslmode" | "sslrootcert" => set(&name.to_ascii_uppercase(), value.into_owned()),
            other => return Err(refuse(&format!("its parameter {other} is not known"))),
        }
    }
    Ok(values)
}

fn flag(values: &BTreeMap<String, String>, name: &str, otherwise: bool) -> Result<bool> {
    match values
        .get(name)
        .map(|value| value.to_ascii_lowercase())
        .as_deref()
    {
        None => Ok(otherwise),
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(other) => Err(wrong(name, other, "true or false")),
    }
}

fn wrong(name: &str, value: &str, expected: &str) -> Error {
    Error::User(format!("{name} '{value}': expected {expected}"))
}

fn unknown(name: &str) -> String {
    let close = NAMES
        .iter()
        .map(|known| (distance(name, known), known))
        .min();
    match close {
        Some((distance, known)) if distance <= 3 => {
            format!("{name} is not an option of a Postgres sink; did you mean {known}?")
        }
        _ => format!(
            "{name} is not an option of a Postgres sink; those are {}",
            NAMES.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Result<PostgresOptions> {
        let pairs = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        PostgresOptions::try_new(&pairs.collect())
    }

    #[test]
    fn takes_a_url_apart_and_lets_options_win() {
        let url = "postgresql://us%40er:p%2Fw@db.example/sales?sslmode=require";
        let options = of(&[("URL", url), ("PORT", "6000"), ("SSLMODE", "verify-full")]).unwrap();
        assert_eq!(options.place(), "postgres://db.example:6000/sales");
        assert_eq!(options.user, "us@er");
        assert_eq!(options.password.as_deref(), Some("p/w"));
        assert_eq!(options.ssl_mode, SslMode::VerifyFull);
        assert!(!format!("{options:?}").contains("p/w"));
        let error = of(&[("URL", "mysql://u:secret@h/d")])
            .unwrap_err()
            .to_string();
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn names_what_is_wrong() {
        let base = [("HOST", "h"), ("USER", "u")];
        let with = |name, value| of(&[base[0], base[1], (name, value)]);
        let said = |result: Result<PostgresOptions>| result.unwrap_err().to_string();
        assert!(said(with("TABEL", "x")).contains("did you mean TABLE?"));
        assert!(said(with("MODE", "replace")).contains("append or upsert"));
        assert!(said(with("SSLMODE", "on")).contains("verify-full"));
        assert!(said(with("CREATE_TABLE", "yes")).contains("true or false"));
        assert!(said(of(&[("HOST", "h")])).contains("needs USER"));
    }
}

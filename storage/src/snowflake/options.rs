//! The properties of a Snowflake sink: our names and, for those who come from the Spark connector,
//! its names too. Reading them touches nothing but the private key's file.

use std::collections::BTreeMap;
use std::time::Duration;

use url::Url;

use super::account;
use super::key::PrivateKey;
use super::name::{self, ObjectName};
use super::secret::Secret;
use crate::distance::distance;
use crate::{Error, Result};

/// Every property: its name, and its other names.
const NAMES: &[(&str, &[&str])] = &[
    ("ACCOUNT", &["SFACCOUNT"]),
    ("URL", &["SFURL"]),
    ("USER", &["SFUSER"]),
    ("AUTHENTICATOR", &["SFAUTHENTICATOR"]),
    ("PRIVATE_KEY", &["PEM_PRIVATE_KEY"]),
    ("PRIVATE_KEY_FILE", &[]),
    ("PRIVATE_KEY_PASSPHRASE", &[]),
    ("PASSWORD", &["SFPASSWORD"]),
    ("TOKEN", &["SFTOKEN"]),
    ("DATABASE", &["SFDATABASE"]),
    ("SCHEMA", &["SFSCHEMA"]),
    ("WAREHOUSE", &["SFWAREHOUSE"]),
    ("ROLE", &["SFROLE"]),
    ("TIMEZONE", &["SFTIMEZONE"]),
    ("TABLE", &["DBTABLE"]),
    ("STAGE", &["STREAMING_STAGE"]),
    ("STAGE_URL", &[]),
    ("MODE", &[]),
    ("PIPE", &[]),
    ("CHANNELS", &[]),
    ("CREATE_TABLE", &[]),
    ("SCHEMA_EVOLUTION", &[]),
    ("KEEP_COLUMN_CASE", &[]),
    ("PURGE", &[]),
    ("PREACTIONS", &[]),
    ("POSTACTIONS", &[]),
    ("TIMEOUT", &[]),
    ("RETRY_TIMEOUT", &[]),
];

const SECRETS: &[&str] = &["PRIVATE_KEY", "PRIVATE_KEY_PASSPHRASE", "PASSWORD", "TOKEN"];

/// Whether the value of a property must not be shown. Takes any name, in any case.
pub fn is_secret(name: &str) -> bool {
    canonical(name).is_some_and(|name| SECRETS.contains(&name))
}

/// Our name of a property.
pub fn canonical(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_uppercase();
    let is = |(own, others): &&(&str, &[&str])| *own == name || others.contains(&name.as_str());
    NAMES.iter().find(is).map(|(own, _)| *own)
}

/// How rows get into the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Rows are appended: `COPY INTO`.
    Copy,
    /// Rows change the table by key: `MERGE`.
    Merge,
    /// Rows are appended without files: Snowpipe Streaming.
    Streaming,
}

/// Channels of a streaming sink, unless CHANNELS says otherwise, and at most.
const CHANNELS: usize = 4;
const CHANNELS_MAX: usize = 100;
/// What does not go with MODE 'streaming', and what only goes with it.
const NOT_STREAMING: &[&str] = &["STAGE", "PURGE", "POSTACTIONS"];
const ONLY_STREAMING: &[&str] = &["PIPE", "CHANNELS"];

/// How a session proves whose it is.
#[derive(Debug, Clone)]
pub(crate) enum Login {
    KeyPair(PrivateKey),
    OAuth(Secret),
    AccessToken(Secret),
    Password(Secret),
}

/// The properties of a sink, read and checked.
#[derive(Debug, Clone)]
pub struct SnowflakeOptions {
    pub(crate) url: Url,
    pub(crate) account: String,
    pub(crate) user: String,
    pub(crate) login: Login,
    pub(crate) database: String,
    pub(crate) schema: String,
    pub(crate) warehouse: Option<String>,
    pub(crate) role: Option<String>,
    pub(crate) timezone: Option<String>,
    pub(crate) table: Option<ObjectName>,
    pub(crate) stage: Option<UserStage>,
    pub(crate) stage_url: Option<String>,
    pub(crate) mode: Option<Mode>,
    /// For streaming; `None` is the table's default pipe.
    pub(crate) pipe: Option<ObjectName>,
    pub(crate) channels: usize,
    pub(crate) create_table: bool,
    pub(crate) schema_evolution: bool,
    pub(crate) keep_column_case: bool,
    pub(crate) purge: bool,
    pub(crate) preactions: Vec<String>,
    pub(crate) postactions: Vec<String>,
    /// How long one statement may take.
    pub(crate) timeout: Duration,
    /// How long a request that got no answer is repeated.
    pub(crate) retry: Duration,
}

/// A stage that is there already, and a path in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UserStage {
    pub(crate) name: ObjectName,
    pub(crate) path: String,
}

impl SnowflakeOptions {
    /// Reads properties. Names are taken in any case.
    ///
    /// # Errors
    /// `User` for a name that is unknown or given twice, for a value that cannot be, and for what
    /// is missing.
    pub fn parse(properties: &BTreeMap<String, String>) -> Result<Self> {
        let mut given = Given::read(properties)?;
        let url = given.take("URL");
        let account = given.take("ACCOUNT");
        let (url, account) = match (url, account) {
            (Some(url), account) => {
                let url = account::parse(&url)?;
                let account = account
                    .or_else(|| account::account_of(&url))
                    .ok_or_else(|| {
                        Error::User("ACCOUNT is missing: the URL does not name one".to_owned())
                    })?;
                (url, account)
            }
            (None, Some(account)) => (account::url_of(&account)?, account),
            (None, None) => return Err(missing("ACCOUNT (organization-name)")),
        };
        let login = login(&mut given)?;
        let user = match (given.take("USER"), &login) {
            (Some(user), _) => user,
            (None, Login::OAuth(_)) => String::new(),
            (None, _) => return Err(missing("USER")),
        };
        let object = |given: &mut Given, name: &'static str| -> Result<Option<String>> {
            let text = given.take(name);
            text.map(|text| name::parse_one(name, &text)).transpose()
        };
        let database = object(&mut given, "DATABASE")?.ok_or_else(|| missing("DATABASE"))?;
        let schema = object(&mut given, "SCHEMA")?.unwrap_or_else(|| "PUBLIC".to_owned());
        let table = given.take("TABLE");
        let table = table.map(|text| ObjectName::parse("TABLE", &text, &database, &schema));
        let mode = given.mode()?;
        let misplaced = match mode {
            Some(Mode::Streaming) => NOT_STREAMING,
            _ => ONLY_STREAMING,
        };
        if let Some(name) = misplaced.iter().find(|name| given.0.contains_key(*name)) {
            let verb = match mode {
                Some(Mode::Streaming) => "does not go with",
                _ => "needs",
            };
            return Err(Error::User(format!("{name} {verb} MODE 'streaming'")));
        }
        if let (Some(Mode::Streaming), Login::Password(_)) = (mode, &login) {
            return Err(Error::User(
                "MODE 'streaming' takes no PASSWORD: log in by PRIVATE_KEY_FILE, or by TOKEN"
                    .to_owned(),
            ));
        }
        let pipe = given.take("PIPE");
        let pipe = pipe.map(|text| ObjectName::parse("PIPE", &text, &database, &schema));
        let stage = given.take("STAGE");
        let stage = stage.map(|text| UserStage::parse(&text, &database, &schema));
        let stage_url = given.take("STAGE_URL");
        if stage_url.is_some() && stage.is_none() {
            return Err(missing(
                "STAGE, the external stage that STAGE_URL is the place of,",
            ));
        }
        Ok(Self {
            url,
            account,
            user,
            login,
            warehouse: object(&mut given, "WAREHOUSE")?,
            role: object(&mut given, "ROLE")?,
            timezone: given.take("TIMEZONE"),
            table: table.transpose()?,
            stage: stage.transpose()?,
            stage_url,
            mode,
            pipe: pipe.transpose()?,
            channels: given.channels()?,
            create_table: given.flag("CREATE_TABLE", true)?,
            schema_evolution: given.flag("SCHEMA_EVOLUTION", false)?,
            keep_column_case: given.flag("KEEP_COLUMN_CASE", false)?,
            purge: given.flag("PURGE", true)?,
            preactions: statements(given.take("PREACTIONS")),
            postactions: statements(given.take("POSTACTIONS")),
            timeout: given.seconds("TIMEOUT", 3600)?,
            retry: given.seconds("RETRY_TIMEOUT", 60)?,
            database,
            schema,
        })
    }
}

impl SnowflakeOptions {
    /// How rows are to get into the table, if that was said.
    pub fn mode(&self) -> Option<Mode> {
        self.mode
    }

    /// The place that an external stage names, `s3://bucket/path`: files are put there by the sink,
    /// not through Snowflake.
    pub fn stage_url(&self) -> Option<&str> {
        self.stage_url.as_deref()
    }

    /// Where rows go, for messages: `snowflake://ACCOUNT/DATABASE.SCHEMA.TABLE`.
    pub fn place(&self) -> String {
        let table = match &self.table {
            Some(table) => table.to_string(),
            None => format!("{}.{}", self.database, self.schema),
        };
        format!("snowflake://{}/{table}", self.account)
    }
}

impl UserStage {
    fn parse(text: &str, database: &str, schema: &str) -> Result<Self> {
        let text = text.strip_prefix('@').unwrap_or(text);
        let (name, path) = text.split_once('/').unwrap_or((text, ""));
        let path = path.trim_matches('/');
        let valid = |c: char| c.is_ascii_alphanumeric() || "_-=./".contains(c);
        if !path.chars().all(valid) || path.split('/').any(|part| part == "..") {
            return Err(Error::User(format!(
                "STAGE path '{path}' may have letters, digits, _ - = . and / only"
            )));
        }
        Ok(Self {
            name: ObjectName::parse("STAGE", name, database, schema)?,
            path: path.to_owned(),
        })
    }
}

/// The properties that were given and not yet looked at.
struct Given(BTreeMap<&'static str, String>);

impl Given {
    fn read(properties: &BTreeMap<String, String>) -> Result<Self> {
        let mut given = BTreeMap::new();
        for (name, value) in properties {
            let own = canonical(name).ok_or_else(|| unknown(name))?;
            if given.insert(own, value.trim().to_owned()).is_some() {
                return Err(Error::User(format!("{own} is given twice")));
            }
        }
        given.retain(|_, value| !value.is_empty());
        Ok(Self(given))
    }

    fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    fn secret(&mut self, name: &str) -> Option<Secret> {
        self.take(name).map(Secret::from)
    }

    /// Spark's options say on and off, too.
    fn flag(&mut self, name: &str, default: bool) -> Result<bool> {
        let Some(value) = self.take(name) else {
            return Ok(default);
        };
        match value.to_ascii_lowercase().as_str() {
            "true" | "on" | "yes" | "1" => Ok(true),
            "false" | "off" | "no" | "0" => Ok(false),
            _ => Err(Error::User(format!(
                "{name} '{value}' is not true or false"
            ))),
        }
    }

    fn seconds(&mut self, name: &str, default: u64) -> Result<Duration> {
        let Some(value) = self.take(name) else {
            return Ok(Duration::from_secs(default));
        };
        match value.parse() {
            Ok(seconds @ 1..=604_800) => Ok(Duration::from_secs(seconds)),
            _ => Err(Error::User(format!(
                "{name} '{value}' is not a number of seconds from 1 to 604800"
            ))),
        }
    }

    fn mode(&mut self) -> Result<Option<Mode>> {
        let Some(value) = self.take("MODE") else {
            return Ok(None);
        };
        match value.to_ascii_lowercase().as_str() {
            "copy" => Ok(Some(Mode::Copy)),
            "merge" => Ok(Some(Mode::Merge)),
            "streaming" => Ok(Some(Mode::Streaming)),
            _ => Err(Error::User(format!(
                "MODE '{value}' is not copy, merge or streaming"
            ))),
        }
    }

    fn channels(&mut self) -> Result<usize> {
        let Some(value) = self.take("CHANNELS") else {
            return Ok(CHANNELS);
        };
        match value.parse() {
            Ok(channels @ 1..=CHANNELS_MAX) => Ok(channels),
            _ => Err(Error::User(format!(
                "CHANNELS '{value}' is not a number from 1 to {CHANNELS_MAX}"
            ))),
        }
    }
}

/// What the authenticator is called, or follows from what is given.
fn login(given: &mut Given) -> Result<Login> {
    let (key, file) = (given.take("PRIVATE_KEY"), given.take("PRIVATE_KEY_FILE"));
    let passphrase = given.secret("PRIVATE_KEY_PASSPHRASE");
    let (token, password) = (given.secret("TOKEN"), given.secret("PASSWORD"));
    let kind = given
        .take("AUTHENTICATOR")
        .map(|kind| kind.to_ascii_lowercase());
    let kind = match kind.as_deref() {
        Some(kind) => kind,
        None if key.is_some() || file.is_some() => "snowflake_jwt",
        None if token.is_some() => "programmatic_access_token",
        None if password.is_some() => "snowflake",
        None => return Err(missing("PRIVATE_KEY_FILE (or PRIVATE_KEY, TOKEN)")),
    };
    match kind {
        "snowflake_jwt" => {
            let text = match (key, file) {
                (Some(_), Some(_)) => {
                    let both = "PRIVATE_KEY and PRIVATE_KEY_FILE are both given: leave out one";
                    return Err(Error::User(both.to_owned()));
                }
                (Some(key), None) => Secret::from(key),
                (None, Some(file)) => {
                    Secret::from(std::fs::read_to_string(&file).map_err(|error| {
                        Error::User(format!("PRIVATE_KEY_FILE '{file}': {error}"))
                    })?)
                }
                (None, None) => return Err(missing("PRIVATE_KEY_FILE")),
            };
            let passphrase = passphrase.as_ref().map(Secret::reveal);
            Ok(Login::KeyPair(PrivateKey::parse(
                text.reveal(),
                passphrase,
            )?))
        }
        "oauth" => Ok(Login::OAuth(token.ok_or_else(|| missing("TOKEN"))?)),
        "programmatic_access_token" => {
            Ok(Login::AccessToken(token.ok_or_else(|| missing("TOKEN"))?))
        }
        "snowflake" => Ok(Login::Password(
            password.ok_or_else(|| missing("PASSWORD"))?,
        )),
        other => Err(Error::User(format!(
            "AUTHENTICATOR '{other}' is not SNOWFLAKE_JWT, OAUTH, PROGRAMMATIC_ACCESS_TOKEN or \
             SNOWFLAKE"
        ))),
    }
}

/// The statements between semicolons that are not in quotes.
fn statements(text: Option<String>) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut quote = None;
    for c in text.unwrap_or_default().chars() {
        match (quote, c) {
            (None, ';') => {
                found.push(String::new());
                continue;
            }
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            _ => {}
        }
        if let Some(last) = found.last_mut() {
            last.push(c);
        }
    }
    let trimmed = found.iter().map(|statement| statement.trim());
    let full = trimmed.filter(|statement| !statement.is_empty());
    full.map(str::to_owned).collect()
}

fn missing(what: &str) -> Error {
    Error::User(format!("the Snowflake sink needs {what}"))
}

fn unknown(name: &str) -> Error {
    let upper = name.to_ascii_uppercase();
    let all = NAMES
        .iter()
        .flat_map(|(own, others)| std::iter::once(own).chain(others.iter()));
    let near = all.map(|known| (distance(&upper, known), known)).min();
    let hint = match near {
        Some((distance, known)) if distance <= 1 + known.len() / 4 => {
            format!(": did you mean {known}?")
        }
        _ => String::new(),
    };
    Error::User(format!("the Snowflake sink has no property {name}{hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<SnowflakeOptions> {
        let own = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
        SnowflakeOptions::parse(&pairs.iter().map(own).collect())
    }

    fn message(pairs: &[(&str, &str)]) -> String {
        parse(pairs).unwrap_err().to_string()
    }

    #[test]
    fn the_spark_connectors_names_are_taken() {
        let options = parse(&[
            ("sfURL", "xy1.eu-central-1.snowflakecomputing.com"),
            ("sfUser", "loader"),
            ("sfToken", "secret-token"),
            ("sfAuthenticator", "oauth"),
            ("sfDatabase", "lake"),
            ("sfSchema", "raw"),
            ("sfWarehouse", "wh"),
            ("dbtable", "clicks"),
            ("streaming_stage", "@landing/in/"),
            ("keep_column_case", "on"),
            ("purge", "off"),
            ("preactions", "USE ROLE a; INSERT INTO t VALUES (';');"),
        ])
        .unwrap();
        assert_eq!(options.account, "xy1.eu-central-1");
        assert_eq!(
            options.table.as_ref().unwrap().to_string(),
            r#""LAKE"."RAW"."CLICKS""#
        );
        let stage = options.stage.as_ref().unwrap();
        assert_eq!(stage.name.to_string(), r#""LAKE"."RAW"."LANDING""#);
        assert_eq!(stage.path, "in");
        assert!(options.keep_column_case && !options.purge && options.create_table);
        assert_eq!(
            options.preactions,
            ["USE ROLE a", "INSERT INTO t VALUES (';')"]
        );
        assert!(!format!("{options:?}").contains("secret-token"));
    }

    #[test]
    fn mistakes_are_named() {
        let base = [
            ("ACCOUNT", "o-a"),
            ("USER", "u"),
            ("TOKEN", "t"),
            ("DATABASE", "d"),
        ];
        let with = |pair| message(&[&base[..], &[pair]].concat());
        assert_eq!(
            with(("WAREHOSE", "w")),
            "the Snowflake sink has no property WAREHOSE: did you mean WAREHOUSE?"
        );
        assert_eq!(
            with(("FROBNICATE", "1")),
            "the Snowflake sink has no property FROBNICATE"
        );
        assert_eq!(with(("sfUser", "v")), "USER is given twice");
        assert_eq!(
            with(("PURGE", "perhaps")),
            "PURGE 'perhaps' is not true or false"
        );
        assert_eq!(
            with(("MODE", "upsert")),
            "MODE 'upsert' is not copy, merge or streaming"
        );
        assert_eq!(with(("CHANNELS", "2")), "CHANNELS needs MODE 'streaming'");
        let streaming = |pair| message(&[&base[..], &[("MODE", "streaming"), pair]].concat());
        assert_eq!(
            streaming(("streaming_stage", "s")),
            "STAGE does not go with MODE 'streaming'"
        );
        assert_eq!(
            streaming(("CHANNELS", "0")),
            "CHANNELS '0' is not a number from 1 to 100"
        );
        assert!(with(("TIMEOUT", "0")).starts_with("TIMEOUT '0' is not a number of seconds"));
        assert!(with(("STAGE", "a/../b")).starts_with("STAGE path '../b' may have"));
        assert_eq!(
            message(&base[1..]),
            "the Snowflake sink needs ACCOUNT (organization-name)"
        );
        assert_eq!(message(&base[..3]), "the Snowflake sink needs DATABASE");
    }

    #[test]
    fn secrets_are_known_by_all_their_names() {
        for name in [
            "PRIVATE_KEY",
            "pem_private_key",
            "sfPassword",
            "Token",
            "SFTOKEN",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["PRIVATE_KEY_FILE", "USER", "nonsense"] {
            assert!(!is_secret(name), "{name}");
        }
    }
}

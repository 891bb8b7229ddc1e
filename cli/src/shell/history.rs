//! What was typed before: kept in a file, secrets left out.
//!
//! The file is readable by its owner only. A statement that gives a password or the like can be
//! called up again while the shell runs, but is never written.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use reedline::{
    FileBackedHistory, History, HistoryItem, HistoryItemId, HistorySessionId, ReedlineError,
    ReedlineErrorVariants, SearchQuery,
};

use super::token::{Kind, tokens};

const ENTRIES_MAX: usize = 10_000;
const FILE: &str = ".kappa_history";

/// The history of this user.
///
/// # Errors
/// Why it cannot be kept.
pub(super) fn open(data_dir: &Path) -> Result<Box<dyn History>, String> {
    let file = path(data_dir);
    let failed = |error: io::Error| format!("{}: {error}", file.display());
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(&file)
        .map_err(failed)?;
    let history = FileBackedHistory::with_file(ENTRIES_MAX, file.clone())
        .map_err(|error| failed(error.into()))?;
    Ok(Box::new(Discreet(history)))
}

/// One that is forgotten.
pub(super) fn in_memory() -> Box<dyn History> {
    Box::new(FileBackedHistory::default())
}

/// `KAPPA_HISTORY`, the home directory, or beside the data.
fn path(data_dir: &Path) -> PathBuf {
    let set = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    if let Some(file) = set("KAPPA_HISTORY") {
        return file;
    }
    let dir = set("HOME").or_else(|| data_dir.parent().map(Path::to_owned));
    dir.unwrap_or_default().join(FILE)
}

/// A history that does not save secrets.
struct Discreet(FileBackedHistory);

impl History for Discreet {
    fn save(&mut self, item: HistoryItem) -> reedline::Result<HistoryItem> {
        if holds_secret(&item.command_line) {
            // The editor keeps what could not be saved as the one line before.
            return Err(ReedlineError(ReedlineErrorVariants::OtherHistoryError(
                "a statement with a secret is not stored",
            )));
        }
        self.0.save(item)
    }

    fn load(&self, id: HistoryItemId) -> reedline::Result<HistoryItem> {
        self.0.load(id)
    }

    fn count(&self, query: SearchQuery) -> reedline::Result<i64> {
        self.0.count(query)
    }

    fn search(&self, query: SearchQuery) -> reedline::Result<Vec<HistoryItem>> {
        self.0.search(query)
    }

    fn update(
        &mut self,
        id: HistoryItemId,
        updater: &dyn Fn(HistoryItem) -> HistoryItem,
    ) -> reedline::Result<()> {
        self.0.update(id, updater)
    }

    fn clear(&mut self) -> reedline::Result<()> {
        self.0.clear()
    }

    fn delete(&mut self, id: HistoryItemId) -> reedline::Result<()> {
        self.0.delete(id)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync()
    }

    fn session(&self) -> Option<HistorySessionId> {
        self.0.session()
    }
}

/// Whether a property in WITH (…), SET or DEFINE gives a secret away.
fn holds_secret(text: &str) -> bool {
    let pieces: Vec<(Kind, &str)> = tokens(text)
        .filter(|(kind, _)| !matches!(kind, Kind::Blank | Kind::Comment))
        .map(|(kind, range)| (kind, &text[range]))
        .collect();
    // How deep in parentheses WITH opened its list.
    let (mut depth, mut with) = (0_u32, None);
    let mut setting = false;
    for (index, (kind, piece)) in pieces.iter().enumerate() {
        let next = pieces.get(index + 1).map(|(_, next)| *next);
        match (*kind, *piece) {
            (Kind::Symbol, "(") => depth += 1,
            (Kind::Symbol, ")") => {
                depth = depth.saturating_sub(1);
                if with.is_some_and(|opened| depth < opened) {
                    with = None;
                }
            }
            (Kind::Symbol, ";") => (depth, with, setting) = (0, None, false),
            (Kind::Word, word) if word.eq_ignore_ascii_case("WITH") && next == Some("(") => {
                with = Some(depth + 1);
            }
            (Kind::Word, word)
                if ["SET", "DEFINE", "SYSTEM"]
                    .iter()
                    .any(|set| word.eq_ignore_ascii_case(set)) =>
            {
                setting = true;
            }
            (Kind::Word | Kind::Name | Kind::Text, name)
                if (with.is_some() || setting) && next == Some("=") && is_secret(name) =>
            {
                return true;
            }
            (Kind::Text, value) if (with.is_some() || setting) && has_credentials(value) => {
                return true;
            }
            _ => {}
        }
    }
    false
}

/// Whether a property of that name is nobody's business. Written in any style: `sasl.password`,
/// `AWS_SECRET_ACCESS_KEY`, `privateKey`.
fn is_secret(name: &str) -> bool {
    let name = name.trim_matches(['\'', '"', '`']).to_ascii_lowercase();
    let joined: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let telling = [
        "password",
        "passwd",
        "passphrase",
        "secret",
        "token",
        "credential",
        "jaas",
        "privatekey",
        "accesskey",
        "apikey",
        "accountkey",
        "signingkey",
        "encryptionkey",
        "keypem",
        "basicauth",
    ];
    // `ssl.keystore.key` holds the key itself.
    telling.iter().any(|word| joined.contains(word))
        || (name.ends_with("key") && name.contains(['.', '_']))
}

/// `https://user:password@host`.
fn has_credentials(value: &str) -> bool {
    value.split_once("://").is_some_and(|(_, rest)| {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        authority
            .rsplit_once('@')
            .is_some_and(|(user, _)| user.contains(':'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_recognised() {
        for text in [
            "SET 'kafka.sasl.password' = 'x';",
            "set 'sasl.jaas.config'='x';",
            "SET 'ssl.keystore.key' = 'x';",
            "CREATE SINK s FROM t WITH (CONNECTOR='s3', AWS_SECRET_ACCESS_KEY = 'x');",
            "CREATE SINK s FROM t WITH (connector='snowflake', `private_key`='x');",
            "DEFINE api_key = 'x';",
            "CREATE STREAM s WITH (SCHEMA_REGISTRY = 'https://me:pw@host/path');",
            "SHOW STREAMS; SET 'auth.token' = 'x';",
        ] {
            assert!(holds_secret(text), "{text}");
        }
        for text in [
            "CREATE STREAM s (a INT KEY) WITH (KEY_FORMAT='KAFKA', KEY_DELIMITER=',');",
            "SELECT * FROM t WHERE password = 'x' AND user_key = 'y';",
            "CREATE TABLE t (api_key STRING PRIMARY KEY) WITH (KAFKA_TOPIC='keys');",
            "SELECT 'https://a:b@c' FROM t;",
            "SET 'commit.interval.ms' = '1'; SELECT * FROM t WHERE token = 'x';",
            "CREATE STREAM s WITH (SCHEMA_REGISTRY = 'https://host/a@b:c');",
        ] {
            assert!(!holds_secret(text), "{text}");
        }
    }

    #[test]
    fn secrets_are_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("history");
        let mut history = Discreet(FileBackedHistory::with_file(9, file.clone()).unwrap());
        history
            .save(HistoryItem::from_command_line("SHOW\nSTREAMS;"))
            .unwrap();
        history
            .save(HistoryItem::from_command_line("SET 'password'='hush';"))
            .unwrap_err();
        history.sync().unwrap();
        assert_eq!(
            std::fs::read_to_string(file).unwrap(),
            "SHOW<\\n>STREAMS;\n"
        );
    }
}

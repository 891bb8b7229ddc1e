//! Whether a case that expects an error was refused for the right cause.
//!
//! Our words are not ksqlDB's, so the two messages are compared by what they speak of: by the ideas
//! in them ([`IDEAS`]) and by the names of the statement that they mention. An error of ours, one
//! of the world outside, or one that says that something is not there yet is never the right
//! cause, but where ksqlDB says the same.

use kappa_engine::Error;

use super::case::Failure;

/// Whether `error` is what `failure` expects.
///
/// # Errors
/// Why it is not.
pub(super) fn check(failure: &Failure, error: &Error) -> Result<(), String> {
    let ours = match error {
        Error::Statement { error, .. } => Ours {
            kind: format!("{:?}", error.kind),
            text: format!(
                "{} {}",
                error.message,
                error.hint.as_deref().unwrap_or_default()
            ),
        },
        Error::User(message) => Ours {
            kind: String::new(),
            text: message.clone(),
        },
        _ => return Err(format!("no user's error: {error}")),
    };
    ours.check(failure).map_err(|why| {
        format!(
            "refused for another cause ({why}): {error} | expected: {}",
            failure.message
        )
    })
}

struct Ours {
    /// The name of `kappa_sql::ErrorKind`, which is no part of the engine's interface; empty for an
    /// error that has no place in the statement.
    kind: String,
    text: String,
}

impl Ours {
    fn check(&self, failure: &Failure) -> Result<(), &'static str> {
        let expected = failure
            .message
            .split("\nStatement:")
            .next()
            .unwrap_or_default();
        // The same sentence, or as much of one as says something.
        let mut sentences = expected.split(['.', ':', '\n']).map(str::trim);
        if sentences.any(|sentence| sentence.len() > 15 && self.text.contains(sentence)) {
            return Ok(());
        }
        let (theirs, own) = (ideas(expected), ideas(&self.text));
        let says = |idea| theirs.contains(&idea);
        if says("statement") && own.contains(&"statement") {
            return Ok(());
        }
        match self.kind.as_str() {
            "Internal" => return Err("our bug"),
            _ if self.text.contains("not there yet") && !says("not supported") => {
                return Err("not there yet");
            }
            "Unsupported" if !says("not supported") => {
                return Err("ksqlDB supports it, and refuses something else");
            }
            "Unknown" if !says("unknown") => {
                return Err("ksqlDB knows it, and refuses something else");
            }
            kind if says("syntax") => {
                let parses = kind != "Syntax" && !expected.is_empty();
                return if parses {
                    Err("it is a syntax error")
                } else {
                    Ok(())
                };
            }
            "Syntax" if failure.class == "ParseFailedException" => return Ok(()),
            _ if expected.is_empty() => return Ok(()),
            _ => {}
        }
        let shared = theirs.iter().filter(|idea| own.contains(idea)).count();
        if shared * 2 < theirs.len() {
            return Err("it speaks of other things");
        }
        let (wanted, found) = (names(expected), names(&self.text));
        let same_name = wanted.iter().any(|name| found.contains(name));
        // All that ksqlDB speaks of is enough where it is more than one thing.
        if same_name || (shared > 1 && shared == theirs.len()) {
            Ok(())
        } else if !wanted.is_empty() && !found.is_empty() {
            Err("it names other things")
        } else if shared == 0 {
            Err("it speaks of other things")
        } else {
            Ok(())
        }
    }
}

/// What a message can speak of, and the words by which it does.
const IDEAS: &[(&str, &[&str])] = &[
    (
        "syntax",
        &["syntax error", "mismatched input", "extraneous input"],
    ),
    ("statement", &["unknown statement", "is not a statement"]),
    (
        "missing expression",
        &["at least one expression", "expected an expression"],
    ),
    (
        "unknown",
        &[
            "cannot be resolved",
            "unknown",
            "does not exist",
            "can't find",
            "not a valid stream",
            "there is no",
            "not found",
            "no columns supplied",
            "no viable",
        ],
    ),
    (
        "not supported",
        &[
            "not supported",
            "unsupported",
            "not support",
            "not there yet",
            "cannot be used",
            "cannot be applied",
            "n't support",
        ],
    ),
    (
        "compare",
        &["compar", "operator does not exist", "cannot be compared"],
    ),
    ("cast", &["cast"]),
    (
        "literal",
        &[
            "invalid input syntax",
            "literal",
            "constant",
            "is not a number",
            "cannot be read as",
        ],
    ),
    ("projection", &["projection", "in its select"]),
    (
        "more than once",
        &[
            "more than once",
            "duplicate",
            "twice",
            "already exists",
            "same name",
            "two columns",
        ],
    ),
    ("reserved", &["reserved"]),
    ("ambiguous", &["ambiguous"]),
    (
        "group by",
        &["group by", "grouping", "grouped", "non-aggregate"],
    ),
    ("aggregate", &["aggregat"]),
    ("having", &["having"]),
    ("where", &["where", "predicate"]),
    ("partition by", &["partition by", "partitioning"]),
    ("window", &["window"]),
    ("join", &["join"]),
    ("foreign key", &["foreign"]),
    (
        "key",
        &[
            "key",
            "grouping expression",
            "partitioning expression",
            "join expression",
        ],
    ),
    ("function", &["function"]),
    ("arguments", &["parameter", "argument"]),
    ("lambda", &["lambda"]),
    ("null", &["null"]),
    ("boolean", &["boolean"]),
    ("struct", &["struct"]),
    ("array", &["array"]),
    ("map", &["map"]),
    ("format", &["format", "delimit", "kafka"]),
    ("delimiter", &["delimiter"]),
    ("wrapping", &["wrap_single", "wrap"]),
    ("timestamp", &["timestamp"]),
    ("headers", &["header"]),
    ("read-only", &["read-only", "read only"]),
    ("insert", &["insert"]),
    ("replace", &["replace"]),
    ("alter", &["alter"]),
    ("topic", &["topic"]),
    ("duration", &["duration", "time unit", "span of time"]),
    ("case", &["case expression", "case branch"]),
    ("table function", &["table function", "table-generating"]),
    ("arithmetic", &["arithmetic", "overflow"]),
    ("serialize", &["serializ", "intermediate type"]),
    ("values", &["number of values", "columns and values"]),
];

fn ideas(text: &str) -> Vec<&'static str> {
    let text = text.to_lowercase();
    let speaks = |words: &[&str]| words.iter().any(|word| text.contains(word));
    IDEAS
        .iter()
        .filter(|(_, words)| speaks(words))
        .map(|(idea, _)| *idea)
        .collect()
}

/// Names of the statement in a message: quoted ones, and words in capitals.
fn names(text: &str) -> Vec<String> {
    const SQL: &[&str] = &[
        "SELECT",
        "WHERE",
        "GROUP",
        "BY",
        "HAVING",
        "PARTITION",
        "JOIN",
        "KEY",
        "PRIMARY",
        "CREATE",
        "STREAM",
        "TABLE",
        "INSERT",
        "INTO",
        "DROP",
        "ALTER",
        "VALUES",
        "EMIT",
        "CHANGES",
        "WINDOW",
        "WITH",
        "FROM",
        "ON",
        "AS",
        "OR",
        "AND",
        "NOT",
        "NULL",
        "JSON",
        "KAFKA",
        "DELIMITED",
        "NONE",
        "INTEGER",
        "STRING",
        "BIGINT",
        "DOUBLE",
        "BOOLEAN",
        "BYTES",
        "MAP",
        "ARRAY",
        "STRUCT",
        "DECIMAL",
        "TIMESTAMP",
        "DATE",
        "TIME",
        "LEFT",
        "RIGHT",
        "FULL",
        "OUTER",
        "INNER",
    ];
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let words = text
        .split(|c: char| !is_name(c))
        .filter(|word| word.len() > 1);
    words
        .filter(|word| word.chars().any(char::is_uppercase) && *word == word.to_uppercase())
        .filter(|word| !SQL.contains(word))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(kind: &str, ours: &str, class: &str, expected: &str) -> bool {
        let failure = Failure {
            class: class.into(),
            message: expected.into(),
        };
        Ours {
            kind: kind.into(),
            text: ours.into(),
        }
        .check(&failure)
        .is_ok()
    }

    #[test]
    fn right_cause_in_other_words() {
        let class = "KsqlStatementException";
        assert!(judge(
            "Unknown",
            "column \"NAMEX\" does not exist",
            class,
            "SELECT column 'NAMEX' cannot be resolved.",
        ));
        assert!(judge(
            "Unsupported",
            "a full join of a stream with a table is not there yet",
            class,
            "full-outer join not supported for stream-table join",
        ));
        assert!(judge(
            "Syntax",
            "expected a type",
            "ParseFailedException",
            "line 1: x"
        ));
        assert!(judge(
            "Invalid",
            "The 'KAFKA' format only supports a single field. Got: `A` INTEGER, `B` INTEGER",
            class,
            "Key format does not support schema.\nreason: The 'KAFKA' format only supports a single \
             field. Got: [`A` INTEGER, `B` INTEGER]",
        ));
    }

    #[test]
    fn other_cause_does_not_count() {
        let class = "KsqlStatementException";
        // The function is not there, and ksqlDB has it and refuses its arguments.
        assert!(!judge(
            "Unknown",
            "function DATESUB does not exist",
            class,
            "Function 'datesub' does not accept parameters (DATE, INTEGER, DATE).",
        ));
        assert!(!judge(
            "Unsupported",
            "joins of two streams are not there yet",
            class,
            "Column 'F0' is ambiguous. Could be I1.F0 or I2.F0.",
        ));
        assert!(!judge(
            "Invalid",
            "column B is in the key twice",
            class,
            "The projection contains no value columns.",
        ));
        assert!(!judge(
            "Unknown",
            "column \"OTHER\" does not exist",
            class,
            "SELECT column 'NAMEX' cannot be resolved.",
        ));
        assert!(!judge(
            "Type",
            "types differ",
            "ParseFailedException",
            "Syntax Error"
        ));
    }
}

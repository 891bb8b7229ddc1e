//! What Tab offers: keywords, functions, names, properties and the shell's commands.

use std::collections::BTreeSet;

use reedline::{CompletionResult, Span, Suggestion};

use super::command;
use super::highlight::is_keyword;
use super::token::{Kind, tokens};

/// Words after which the name of a stream, table or the like comes.
const BEFORE_NAMES: [&str; 12] = [
    "FROM",
    "JOIN",
    "INTO",
    "DESCRIBE",
    "TABLE",
    "STREAM",
    "EXISTS",
    "EXPLAIN",
    "TERMINATE",
    "PAUSE",
    "RESUME",
    "SINK",
];

/// Completes words.
pub(super) struct Completer<N> {
    functions: Vec<String>,
    /// The catalog's names, as they are now.
    names: N,
}

impl<N: Fn() -> Vec<String>> Completer<N> {
    pub(super) fn new(functions: Vec<String>, names: N) -> Self {
        Self { functions, names }
    }

    /// Replacements for the word that ends at `pos`, best first, and where it starts.
    fn candidates(&self, line: &str, pos: usize) -> (usize, Vec<String>) {
        let before = &line[..pos];
        let pieces: Vec<_> = tokens(before).collect();
        let (start, kind) = match pieces.last() {
            Some((kind @ (Kind::Word | Kind::Name | Kind::Text), range)) => (range.start, *kind),
            Some((Kind::Comment | Kind::Number | Kind::Variable, _)) => return (pos, Vec::new()),
            _ => (pos, Kind::Blank),
        };
        let typed = &before[start..];
        let words: Vec<String> = pieces
            .iter()
            .filter(|(kind, range)| *kind == Kind::Word && range.end <= start)
            .map(|(_, range)| before[range.clone()].to_uppercase())
            .collect();
        let last = words.last().map(String::as_str);

        match kind {
            Kind::Text => (start, properties(typed, last)),
            Kind::Name => (start, self.quoted_names(typed)),
            _ => (
                start,
                self.words(typed, last, before[..start].trim().is_empty()),
            ),
        }
    }

    fn words(&self, typed: &str, last: Option<&str>, at_start: bool) -> Vec<String> {
        let names = (self.names)()
            .into_iter()
            .map(|name| quoted_if_needed(&name));
        let names: BTreeSet<String> = names.filter(|name| starts(name, typed)).collect();
        let names = names.into_iter().map(|name| cased_like(typed, name));
        let keywords = kappa_engine::KEYWORDS.iter().map(|word| (*word).to_owned());
        let functions = self
            .functions
            .iter()
            .filter(|name| !is_keyword(name))
            .map(|name| name.to_uppercase());
        let words = keywords.chain(functions).filter(|word| starts(word, typed));
        let words: BTreeSet<String> = words.collect();
        let words = words.into_iter().map(|word| cased_like(typed, word));
        let commands = command::NAMES.iter().map(|name| (*name).to_owned());
        let commands = commands.filter(|name| at_start && starts(name, typed));

        if typed.is_empty() && last.is_none() {
            return commands.collect();
        }
        if last.is_some_and(|word| BEFORE_NAMES.contains(&word)) {
            names.chain(words).collect()
        } else {
            words.chain(commands).chain(names).collect()
        }
    }

    /// Names that start like a quoted one.
    fn quoted_names(&self, typed: &str) -> Vec<String> {
        let mut chars = typed.chars();
        let Some(quote) = chars.next() else {
            return Vec::new();
        };
        let names: BTreeSet<String> = (self.names)().into_iter().collect();
        names
            .into_iter()
            .filter(|name| name.starts_with(chars.as_str()))
            .map(|name| quoted_with(&name, quote))
            .collect()
    }
}

impl<N: Fn() -> Vec<String>> reedline::Completer for Completer<N> {
    fn complete(&mut self, line: &str, pos: usize) -> CompletionResult {
        if !line.is_char_boundary(pos) {
            return CompletionResult::fresh(Vec::new());
        }
        let (start, values) = self.candidates(line, pos);
        let suggestions = values.into_iter().map(|value| Suggestion {
            value,
            span: Span::new(start, pos),
            append_whitespace: true,
            ..Suggestion::default()
        });
        CompletionResult::fresh(suggestions.collect::<Vec<_>>())
    }
}

/// Properties after SET and UNSET.
fn properties(typed: &str, last: Option<&str>) -> Vec<String> {
    if !matches!(last, Some("SET" | "UNSET")) {
        return Vec::new();
    }
    let names = kappa_engine::PROPERTIES
        .iter()
        .map(|property| format!("'{}'", property.name));
    names.filter(|name| starts(name, typed)).collect()
}

fn starts(word: &str, typed: &str) -> bool {
    word.get(..typed.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(typed))
}

/// Who types small letters wants small letters.
fn cased_like(typed: &str, word: String) -> String {
    let small = typed.chars().any(char::is_lowercase) && !typed.chars().any(char::is_uppercase);
    if small && !word.starts_with('`') {
        word.to_lowercase()
    } else {
        word
    }
}

/// The name as it must be written to be found: unquoted words become upper-case, and keywords may
/// be taken for themselves.
fn quoted_if_needed(name: &str) -> String {
    let starts = name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_');
    let plain = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_' || c == '@';
    if starts && name.chars().all(plain) && !is_keyword(name) {
        name.to_owned()
    } else {
        quoted_with(name, '`')
    }
}

fn quoted_with(name: &str, quote: char) -> String {
    let doubled: String = [quote, quote].iter().collect();
    format!("{quote}{}{quote}", name.replace(quote, &doubled))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(line: &str) -> Vec<String> {
        let names = || {
            ["CLICKS", "PAGE", "mixedCase", "CLICKS_PER_PAGE"]
                .map(str::to_owned)
                .to_vec()
        };
        let completer = Completer::new(vec!["UCASE".into(), "url_decode".into()], names);
        let (start, values) = completer.candidates(line, line.len());
        values
            .into_iter()
            .map(|value| format!("{}{value}", &line[..start]))
            .collect()
    }

    #[test]
    fn words_are_completed_in_the_case_typed() {
        assert_eq!(offered("SELECT uc"), ["SELECT ucase"]);
        assert_eq!(offered("SELECT UR"), ["SELECT URL_DECODE"]);
        assert_eq!(offered("sel"), ["select"]);
        assert_eq!(offered("SELECT 'uc"), Vec::<String>::new());
        assert_eq!(offered("-- sel"), Vec::<String>::new());
    }

    #[test]
    fn names_come_first_where_names_stand() {
        assert_eq!(
            offered("SELECT * FROM c")[..2],
            ["SELECT * FROM clicks", "SELECT * FROM clicks_per_page"]
        );
        assert_eq!(offered("DESCRIBE \"mi"), ["DESCRIBE \"mixedCase\""]);
        assert!(offered("DESCRIBE ").contains(&"DESCRIBE `mixedCase`".to_owned()));
    }

    #[test]
    fn commands_stand_at_the_start() {
        assert!(offered("he").contains(&"help".to_owned()));
        assert!(!offered("SELECT he").contains(&"SELECT help".to_owned()));
    }

    #[test]
    fn properties_follow_set() {
        assert_eq!(offered("SET 'commit"), ["SET 'commit.interval.ms'"]);
    }
}

//! The shell's own commands: lines that need no `;`.

use clap::ValueEnum;

use crate::output::Format;
use crate::script::run_script;

/// The commands, for completion.
pub(super) const NAMES: [&str; 9] = [
    "clear",
    "exit",
    "help",
    "history",
    "output",
    "quit",
    "run script",
    "timing",
    "version",
];

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// `help [topic]`
    Help(Option<String>),
    Clear,
    History,
    Exit,
    Version,
    /// `output [format]`
    Output(Option<Format>),
    /// `timing [on|off]`
    Timing(Option<bool>),
    /// `run script 'file'`
    RunScript(String),
}

/// What a line is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    Command(Command),
    /// A command with something behind it that does not belong there: how it is used.
    Misused(&'static str),
    Statements,
}

/// Tells commands from statements.
pub(super) fn parse(line: &str) -> Parsed {
    let line = line.trim();
    let line = line.strip_suffix(';').unwrap_or(line).trim_end();
    // Commands are lines; a statement that starts like one goes on.
    if line.contains(['\n', ';']) {
        return Parsed::Statements;
    }
    if let Some(file) = run_script(line) {
        return Parsed::Command(Command::RunScript(file.to_owned()));
    }
    let mut words = line.split_whitespace();
    let name = words.next().unwrap_or_default().to_ascii_lowercase();
    let name = name.strip_prefix('\\').unwrap_or(&name);
    let rest: Vec<&str> = words.collect();
    let command = match (name, rest.as_slice()) {
        ("?", []) => Command::Help(None),
        ("help", []) => Command::Help(None),
        ("help", topic) => Command::Help(Some(topic.join(" "))),
        ("clear", []) => Command::Clear,
        ("history", []) => Command::History,
        ("exit" | "quit" | "q", []) => Command::Exit,
        ("version", []) => Command::Version,
        ("output", []) => Command::Output(None),
        ("output", [format]) => match Format::from_str(format, true) {
            Ok(format) => Command::Output(Some(format)),
            Err(_) => return Parsed::Misused("output takes table, json or csv"),
        },
        ("timing", []) => Command::Timing(None),
        ("timing", [on]) if on.eq_ignore_ascii_case("on") => Command::Timing(Some(true)),
        ("timing", [off]) if off.eq_ignore_ascii_case("off") => Command::Timing(Some(false)),
        ("timing", _) => return Parsed::Misused("timing takes on or off"),
        ("output", _) => return Parsed::Misused("output takes table, json or csv"),
        ("run", []) => return Parsed::Misused("run script 'file' names a script"),
        ("run", [script]) if script.eq_ignore_ascii_case("script") => {
            return Parsed::Misused("run script 'file' names a script");
        }
        (_, _) if line.starts_with('\\') => {
            return Parsed::Misused("there is no such command; help lists them");
        }
        _ => return Parsed::Statements,
    };
    Parsed::Command(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_told_from_statements() {
        use Command::*;
        for (line, command) in [
            ("help", Help(None)),
            ("\\?", Help(None)),
            ("HELP create stream;", Help(Some("create stream".into()))),
            (" exit ; ", Exit),
            ("\\q", Exit),
            ("output JSON", Output(Some(Format::Json))),
            ("output tabular", Output(Some(Format::Table))),
            ("\\timing", Timing(None)),
            ("timing OFF", Timing(Some(false))),
            ("run script 'a b.sql';", RunScript("a b.sql".into())),
        ] {
            assert_eq!(parse(line), Parsed::Command(command), "{line}");
        }
        for line in [
            "",
            "SELECT 1",
            "helpful",
            "history of",
            "exit; SELECT 1",
            "clear\n x",
        ] {
            assert_eq!(parse(line), Parsed::Statements, "{line}");
        }
        for line in [
            "output xml",
            "\\d",
            "timing maybe",
            "run script",
            "\\help\\",
        ] {
            assert!(matches!(parse(line), Parsed::Misused(_)), "{line}");
        }
    }
}

//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::nexmark::Fill;
use crate::output::Format;
use crate::sink::SinkCommand;

const EXAMPLES: &str = "\
Examples:
  kappa                                     the shell, topics and state in ./kappa-data
  kappa --bootstrap-servers localhost:9092  the shell, topics on Kafka
  kappa -e 'SHOW STREAMS'                   one statement
  kappa -f tables.sql -e 'SELECT * FROM t' --output json | jq .
  echo 'SHOW QUERIES;' | kappa              statements from standard input
  kappa nexmark --events 1000000            fills topics with a benchmark's events
  kappa sink gc s3://lake/clicks            what sinks have left there that nobody needs
  kappa run pipeline.sql                    runs the script's queries until SIGTERM or Ctrl-C
  kappa -p commit.interval.ms=100 -d env=test -f pipeline.sql

A push query (SELECT … EMIT CHANGES) runs until its LIMIT or Ctrl-C. Results go to standard output,
errors to standard error. NO_COLOR=1 switches colours off.

Exit codes:
  0    done; for `kappa run`: stopped by SIGTERM or Ctrl-C with everything committed
  1    a statement failed, or the engine did
  2    the command line or the configuration file is wrong
  130  ended by Ctrl-C
  143  ended by SIGTERM";

/// Kappa, a streaming data warehouse in one program.
///
/// Without a command, -e, -f or input on standard input it opens the shell.
#[derive(Debug, Parser)]
#[command(name = "kappa", version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Args {
    /// Where state, catalog and embedded topics live; made if absent [default: ./kappa-data]
    #[arg(long, value_name = "DIR", global = true, env = "KAPPA_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,

    /// Kafka's brokers; without them topics are embedded in the data directory
    #[arg(
        long,
        value_name = "HOST:PORT,…",
        global = true,
        env = "KAPPA_BOOTSTRAP_SERVERS"
    )]
    pub(crate) bootstrap_servers: Option<String>,

    /// A file of properties, one key=value a line; flags win over it
    #[arg(long, value_name = "FILE", global = true, env = "KAPPA_CONFIG")]
    pub(crate) config: Option<PathBuf>,

    /// Sets a property, as SET does in a statement (SHOW PROPERTIES lists them); may be repeated
    #[arg(short, long = "property", value_name = "KEY=VALUE", global = true, value_parser = pair)]
    pub(crate) properties: Vec<(String, String)>,

    /// Defines a variable that statements use as ${NAME}; may be repeated
    #[arg(short, long = "define", value_name = "NAME=VALUE", global = true, value_parser = variable)]
    pub(crate) defines: Vec<(String, String)>,

    /// How results are printed
    #[arg(
        long,
        value_enum,
        value_name = "FORMAT",
        global = true,
        default_value_t
    )]
    pub(crate) output: Format,

    /// Executes statements and ends; may be repeated
    #[arg(short, long = "execute", value_name = "SQL")]
    execute: Vec<String>,

    /// Executes the statements of a file (- for standard input) and ends; may be repeated
    #[arg(short, long = "file", value_name = "FILE")]
    file: Vec<PathBuf>,

    /// What -e and -f give, in the order given.
    #[arg(skip)]
    pub(crate) inputs: Vec<Input>,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What to do instead of opening the shell.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs a script, then keeps the persistent queries going until SIGTERM or Ctrl-C
    ///
    /// Queries made earlier in the same data directory go on too, so the script is not needed after
    /// its first run; one that says IF NOT EXISTS can be given every time. On SIGTERM or Ctrl-C the
    /// queries finish their step, commit, and the program ends with exit code 0. A second Ctrl-C
    /// ends at once; nothing committed is lost by that.
    Run {
        /// The script (- for standard input)
        script: Option<PathBuf>,
    },
    /// Fills the topics person, auction and bid with the events of the Nexmark benchmark, as JSON
    ///
    /// Topics that do not exist are made and keep their records for good. Prints the statements that
    /// read them. To generate events without a topic, see CREATE STREAM … WITH (CONNECTOR =
    /// 'nexmark').
    Nexmark(Fill),
    /// Looks after what sinks have written
    #[command(subcommand)]
    Sink(SinkCommand),
}

/// Where statements come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Input {
    /// From the command line.
    Text(String),
    /// From a file.
    File(PathBuf),
    /// From standard input.
    Stdin,
}

impl Input {
    /// A file's name as given on the command line.
    pub(crate) fn named(path: PathBuf) -> Self {
        if path.as_os_str() == "-" {
            Self::Stdin
        } else {
            Self::File(path)
        }
    }
}

impl Args {
    /// Reads a command line, the program's name first.
    ///
    /// # Errors
    /// A wrong command line, and also what `--help` and `--version` print.
    pub(crate) fn read(
        words: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, clap::Error> {
        let mut matches = Self::command().try_get_matches_from(words)?;
        let places = |name| {
            matches
                .indices_of(name)
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
        };
        let (texts, files) = (places("execute"), places("file"));
        let mut args = Self::from_arg_matches_mut(&mut matches)?;

        let texts = texts
            .into_iter()
            .zip(args.execute.drain(..).map(Input::Text));
        let files = files.into_iter().zip(args.file.drain(..).map(Input::named));
        let mut inputs: Vec<_> = texts.chain(files).collect();
        inputs.sort_by_key(|(place, _)| *place);
        args.inputs = inputs.into_iter().map(|(_, input)| input).collect();

        if args.command.is_some() && !args.inputs.is_empty() {
            return Err(Self::command().error(
                clap::error::ErrorKind::ArgumentConflict,
                "-e and -f cannot be used together with a command: put statements into the script \
                 of run",
            ));
        }
        Ok(args)
    }
}

/// `key=value`.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.to_owned()))
        }
        _ => Err("it must be KEY=VALUE".to_owned()),
    }
}

/// `name=value` where the name can stand in a DEFINE statement.
fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = pair(text)?;
    let mut chars = name.chars();
    let starts = chars
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if starts && chars.all(|c| c.is_ascii_alphanumeric() || c == '_') {
        Ok((name, value))
    } else {
        Err("a variable's name is made of letters, digits and _".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Args, String> {
        Args::read(line.split_whitespace()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn statements_keep_their_order() {
        let args = read("kappa -e A -f b.sql --execute C -f -").unwrap();
        assert_eq!(
            args.inputs,
            [
                Input::Text("A".into()),
                Input::File("b.sql".into()),
                Input::Text("C".into()),
                Input::Stdin,
            ]
        );
        assert!(args.command.is_none());
        assert_eq!(args.output, Format::Table);
    }

    #[test]
    fn options_may_stand_on_both_sides_of_run() {
        let args = read("kappa --data-dir d run -p a=b=c --output json x.sql -d n=").unwrap();
        assert_eq!(args.data_dir, Some("d".into()));
        assert_eq!(args.properties, [("a".to_owned(), "b=c".to_owned())]);
        assert_eq!(args.defines, [("n".to_owned(), String::new())]);
        assert_eq!(args.output, Format::Json);
        assert!(matches!(args.command, Some(Command::Run { script: Some(s) }) if s == *"x.sql"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, message) in [
            ("kappa -p novalue", "it must be KEY=VALUE"),
            ("kappa -d a-b=c", "letters, digits and _"),
            ("kappa --output xml", "possible values: table, json, csv"),
            (
                "kappa -e A run x.sql",
                "put statements into the script of run",
            ),
            ("kappa nexmark --rate 0", "0 is not in 1..=1000000000"),
            ("kappa walk", "unrecognized subcommand 'walk'"),
        ] {
            let error = read(line).unwrap_err();
            assert!(error.contains(message), "{line}: {error}");
        }
    }

    #[test]
    fn help_has_examples_and_exit_codes() {
        let help = read("kappa --help").unwrap_err();
        assert!(help.contains("kappa run pipeline.sql") && help.contains("130  ended by Ctrl-C"));
        let version = read("kappa --version").unwrap_err();
        assert_eq!(version.trim(), concat!("kappa ", env!("CARGO_PKG_VERSION")));
    }
}

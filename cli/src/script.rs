//! Scripts: statement after statement until the first error.

use std::io::Read;
use std::path::Path;

use kappa_engine::Error;

use crate::args::Input;
use crate::exit::Exit;
use crate::report::report;
use crate::runner::{Ended, Failure, Runner};
use crate::shell::token;
use crate::terminal::Terminal;

/// `RUN SCRIPT` within scripts goes no deeper than that: a script may run itself.
const DEPTH_MAX: usize = 16;

/// Runs everything of `-e` and `-f`, or standard input.
pub(crate) async fn run_all(runner: &mut Runner, terminal: &Terminal, inputs: &[Input]) -> Exit {
    for input in inputs {
        if let Err(exit) = run(runner, terminal, input).await {
            return exit;
        }
    }
    Exit::Done
}

/// Runs one script.
///
/// # Errors
/// How the program, or the command of the shell, is to end; what went wrong has been printed.
pub(crate) async fn run(
    runner: &mut Runner,
    terminal: &Terminal,
    input: &Input,
) -> Result<(), Exit> {
    let script = Script::read(input).map_err(|message| {
        report(terminal, &format!("error: {message}"));
        Exit::Failed
    })?;
    Box::pin(script.run(runner, terminal, 1)).await
}

struct Script {
    /// Stands before errors; `None` for what was typed on the command line.
    name: Option<String>,
    /// Its directory: scripts it runs are named from there.
    dir: Option<std::path::PathBuf>,
    text: String,
}

impl Script {
    fn read(input: &Input) -> Result<Self, String> {
        match input {
            Input::Text(text) => Ok(Self {
                name: None,
                dir: None,
                text: text.clone(),
            }),
            Input::Stdin => {
                let mut text = String::new();
                std::io::stdin()
                    .read_to_string(&mut text)
                    .map_err(|error| format!("cannot read standard input: {error}"))?;
                Ok(Self {
                    name: Some("<stdin>".to_owned()),
                    dir: None,
                    text,
                })
            }
            Input::File(path) => {
                let name = path.display().to_string();
                let text = std::fs::read_to_string(path)
                    .map_err(|error| format!("cannot read the script {name}: {error}"))?;
                Ok(Self {
                    name: Some(name),
                    dir: path.parent().map(Path::to_owned),
                    text,
                })
            }
        }
    }

    async fn run(
        &self,
        runner: &mut Runner,
        terminal: &Terminal,
        depth: usize,
    ) -> Result<(), Exit> {
        for (start, statement) in token::statements(&self.text) {
            let (line, column) = place(&self.text[..start]);
            if let Some(file) = run_script(statement) {
                let path = match &self.dir {
                    Some(dir) => dir.join(file),
                    None => file.into(),
                };
                let inner = if depth < DEPTH_MAX {
                    Self::read(&Input::File(path))
                } else {
                    Err(format!("scripts run each other more than {DEPTH_MAX} deep"))
                };
                let inner = inner.map_err(|message| {
                    let message = format!("error: {message}");
                    report(terminal, &self.placed(Some((line, column)), &message));
                    Exit::Failed
                })?;
                Box::pin(inner.run(runner, terminal, depth + 1)).await?;
                continue;
            }
            match runner.execute(statement).await {
                Ok(Ended::Done) => {}
                Ok(Ended::Stopped(event)) => return Err(event.exit()),
                Ok(Ended::Closed) => return Err(Exit::Done),
                Err(Failure::Output(error)) => {
                    report(
                        terminal,
                        &format!("error: cannot write the results: {error}"),
                    );
                    return Err(Exit::Failed);
                }
                Err(Failure::Statement(error)) => {
                    report(terminal, &self.explain(error, statement, (line, column)));
                    return Err(Exit::Failed);
                }
            }
        }
        Ok(())
    }

    /// The error with places counted in the script instead of the statement, which starts at
    /// `start`.
    fn explain(&self, error: Error, statement: &str, start: (usize, usize)) -> String {
        match error {
            // Variables were filled in otherwise: places are in a text that the script has not.
            Error::Statement { mut error, text } if text == statement => {
                if let Some(at) = &mut error.position {
                    if at.line == 1 {
                        at.column += start.1 - 1;
                    }
                    at.line += start.0 - 1;
                }
                let place = error
                    .position
                    .as_ref()
                    .map_or(start, |at| (at.line, at.column));
                self.placed(Some(place), &error.render(&self.text))
            }
            other => self.placed(Some(start), &other.render()),
        }
    }

    /// `script.sql:3:14: error: …`, which editors jump to.
    fn placed(&self, place: Option<(usize, usize)>, message: &str) -> String {
        match (&self.name, place) {
            (Some(name), Some((line, column))) => format!("{name}:{line}:{column}: {message}"),
            _ => message.to_owned(),
        }
    }
}

/// Line and column after `before`, from 1.
fn place(before: &str) -> (usize, usize) {
    let last = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, last.chars().count() + 1)
}

/// The file of `RUN SCRIPT 'file'`.
pub(crate) fn run_script(statement: &str) -> Option<&str> {
    let mut rest = statement.trim().trim_end_matches(';').trim_end();
    for word in ["RUN", "SCRIPT"] {
        let (first, after) = rest.split_at_checked(word.len())?;
        if !first.eq_ignore_ascii_case(word)
            || !after.starts_with(|c: char| c.is_whitespace() || c == '\'')
        {
            return None;
        }
        rest = after.trim_start();
    }
    let file = match rest.strip_prefix('\'') {
        Some(quoted) => quoted.strip_suffix('\'')?,
        None => rest,
    };
    (!file.is_empty()).then_some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_script_names_a_file() {
        assert_eq!(run_script("run script 'a b.sql' ;"), Some("a b.sql"));
        assert_eq!(run_script("RUN  SCRIPT a.sql"), Some("a.sql"));
        assert_eq!(run_script("run script"), None);
        assert_eq!(run_script("run scripts 'a'"), None);
        assert_eq!(run_script("SELECT 1"), None);
    }

    #[test]
    fn places_count_characters() {
        assert_eq!(place(""), (1, 1));
        assert_eq!(place("é \n\n é"), (3, 3));
    }
}

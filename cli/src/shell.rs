//! The shell: reads statements and commands, executes them, until Ctrl-D.
//!
//! The line editor has a thread of its own ([`editor`]); everything else waits on the runtime,
//! where the queries go on all the while.

mod command;
mod complete;
mod editor;
mod help;
mod highlight;
mod history;
mod prompt;
pub(crate) mod token;
mod validate;

use std::io::{self, Write};
use std::sync::Arc;

use arrow::array::Array;
use arrow::util::display::array_value_to_string;
use kappa_engine::{Clock, Engine};

use crate::args::Input;
use crate::exit::Exit;
use crate::progress;
use crate::report::{note, report};
use crate::runner::{Ended, Failure, Runner};
use crate::script;
use crate::settings::Settings;
use crate::signals::Event;
use crate::terminal::Terminal;
use command::{Command, Parsed};
use editor::{Editor, Line};

/// Runs the shell; without a terminal, the statements on standard input.
pub(crate) async fn run(
    engine: &Engine,
    runner: &mut Runner,
    terminal: &Terminal,
    settings: &Settings,
) -> Exit {
    if !terminal.input {
        return script::run_all(runner, terminal, &[Input::Stdin]).await;
    }
    runner.interactive = true;
    let functions = functions(runner).await;
    let leave = runner.signals().leave_flag();
    let editor = match Editor::start(engine, terminal, settings, functions, leave) {
        Ok(editor) => editor,
        Err(error) => {
            report(
                terminal,
                &format!("error: cannot start the line editor: {error}"),
            );
            return Exit::Failed;
        }
    };
    note(terminal, &welcome(settings));
    let clock = settings.config.clock.clone();
    Shell {
        engine,
        runner,
        terminal,
        clock,
        editor,
    }
    .run()
    .await
}

struct Shell<'a> {
    engine: &'a Engine,
    runner: &'a mut Runner,
    terminal: &'a Terminal,
    clock: Arc<dyn Clock>,
    editor: Editor,
}

/// Whether the loop goes on.
type Flow = std::ops::ControlFlow<Exit>;

impl Shell<'_> {
    async fn run(&mut self) -> Exit {
        loop {
            let line = match self.editor.read(self.runner.signals()).await {
                Line::Text(line) => line,
                Line::Cleared => continue,
                Line::End => return self.leave(),
                Line::Left => return Exit::Done,
                Line::Broken(error) => {
                    report(
                        self.terminal,
                        &format!("error: cannot read the terminal: {error}"),
                    );
                    return Exit::Failed;
                }
            };
            self.runner.signals().forget();
            let flow = match command::parse(&line) {
                Parsed::Command(command) => self.command(command).await,
                Parsed::Misused(usage) => {
                    report(self.terminal, &format!("error: {usage}"));
                    Flow::Continue(())
                }
                Parsed::Statements => self.statements(&line).await,
            };
            if let Flow::Break(exit) = flow {
                return exit;
            }
        }
    }

    /// Executes what was typed or pasted, up to the first error.
    async fn statements(&mut self, text: &str) -> Flow {
        for (_, statement) in token::statements(text) {
            let before = makes_a_query(statement).then(|| progress::ids(self.engine));
            match self.runner.execute(statement).await {
                Ok(Ended::Done) => {}
                Ok(Ended::Stopped(Event::Terminate)) => return Flow::Break(Exit::Done),
                Ok(Ended::Stopped(Event::Interrupt) | Ended::Closed) => return Flow::Continue(()),
                Err(Failure::Statement(error)) => {
                    report(self.terminal, &error.render());
                    return Flow::Continue(());
                }
                Err(Failure::Output(error)) => {
                    report(
                        self.terminal,
                        &format!("error: cannot write the results: {error}"),
                    );
                    return Flow::Continue(());
                }
            }
            if let Some(before) = before {
                let signals = self.runner.signals();
                progress::follow(self.engine, &before, self.terminal, &*self.clock, signals).await;
            }
        }
        Flow::Continue(())
    }

    async fn command(&mut self, command: Command) -> Flow {
        let done = match command {
            Command::Exit => return Flow::Break(self.leave()),
            Command::Help(topic) => self.print(&help::text(topic.as_deref())),
            Command::Clear => self.editor.clear().await,
            Command::History => self.history().await,
            Command::Version => self.print(concat!("kappa ", env!("CARGO_PKG_VERSION"))),
            Command::Output(format) => {
                self.runner.format = format.unwrap_or(self.runner.format);
                self.print(&format!(
                    "Results are printed as {}.",
                    self.runner.format.name()
                ))
            }
            Command::Timing(on) => {
                self.runner.timing = on.unwrap_or(!self.runner.timing);
                self.print(if self.runner.timing {
                    "Timing is on."
                } else {
                    "Timing is off."
                })
            }
            Command::RunScript(file) => {
                let input = Input::named(file.into());
                let ended = script::run(self.runner, self.terminal, &input).await;
                if ended == Err(Exit::Terminated) {
                    return Flow::Break(Exit::Done);
                }
                Ok(())
            }
        };
        if let Err(error) = done {
            report(
                self.terminal,
                &format!("error: cannot write to the terminal: {error}"),
            );
        }
        Flow::Continue(())
    }

    fn print(&self, text: &str) -> io::Result<()> {
        let mut out = self.terminal.stdout();
        writeln!(out, "{text}")?;
        out.flush()
    }

    async fn history(&mut self) -> io::Result<()> {
        let mut out = self.terminal.stdout();
        for (index, line) in self.editor.history().await?.iter().enumerate() {
            let text = crate::output::text::escape_lines(line);
            // Further lines of a statement stand below its first.
            writeln!(out, "{:>5}  {}", index + 1, text.replace('\n', "\n       "))?;
        }
        out.flush()
    }

    /// Says what becomes of the queries: in other systems they would run on.
    fn leave(&self) -> Exit {
        let running = self.engine.queries().len();
        if running > 0 {
            let (many, they) = if running == 1 {
                ("y stops", "it goes")
            } else {
                ("ies stop", "they go")
            };
            note(
                self.terminal,
                &format!("{running} quer{many}; {they} on at the next start (kappa, kappa run)."),
            );
        }
        Exit::Done
    }
}

/// Whether the statement starts a persistent query that may have much to read.
fn makes_a_query(statement: &str) -> bool {
    let words: Vec<String> = token::words(statement)
        .map(|word| word.to_uppercase())
        .collect();
    match words.first().map(String::as_str) {
        Some("CREATE" | "INSERT") => words
            .iter()
            .any(|word| word == "SELECT" || word == "SINK" || word == "SOURCE"),
        _ => false,
    }
}

/// The names of all functions, for completion.
async fn functions(runner: &mut Runner) -> Vec<String> {
    let mut names = Vec::new();
    let Ok(Some(mut rows)) = runner.quietly("SHOW FUNCTIONS").await else {
        return names;
    };
    while let Some(Ok(batch)) = rows.next().await {
        let Some(column) = batch.columns().first() else {
            break;
        };
        names.extend((0..column.len()).filter_map(|row| array_value_to_string(column, row).ok()));
    }
    names
}

fn welcome(settings: &Settings) -> String {
    let dir = settings.config.data_dir.display();
    let topics = match &settings.config.bootstrap_servers {
        Some(servers) => format!("topics on Kafka at {servers}"),
        None => "topics embedded there".to_owned(),
    };
    format!(
        "kappa {} | data in {dir}, {topics} | try help",
        env!("CARGO_PKG_VERSION")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_that_make_queries() {
        for text in [
            "create table t as select 1",
            "INSERT INTO s -- x\n SELECT * FROM t",
            "CREATE SINK f FROM t WITH (CONNECTOR='file')",
        ] {
            assert!(makes_a_query(text), "{text}");
        }
        for text in [
            "CREATE STREAM s (a INT)",
            "INSERT INTO s VALUES ('select')",
            "SELECT 1",
            "",
            "SHOW SINKS",
        ] {
            assert!(!makes_a_query(text), "{text}");
        }
    }
}

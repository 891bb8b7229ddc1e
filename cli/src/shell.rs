//! The shell: reads statements and commands, executes them, until Ctrl-D.
//!
//! The line editor blocks its thread, so the loop is not async: it reads, then runs the statement
//! on the runtime, where the queries go on all the while.

mod command;
mod complete;
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
use nu_ansi_term::{Color, Style};
use reedline::{
    ColumnarMenu, DefaultHinter, EditCommand, Emacs, KeyCode, KeyModifiers, MenuBuilder, Reedline,
    ReedlineEvent, ReedlineMenu, SearchDirection, SearchQuery, Signal, default_emacs_keybindings,
};
use tokio::runtime::Runtime;

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
use complete::Completer;
use highlight::Highlighter;
use prompt::Prompt;
use validate::Validator;

const MENU: &str = "completion";

/// Runs the shell; without a terminal, the statements on standard input.
pub(crate) fn run(
    runtime: &Runtime,
    engine: &Engine,
    runner: &mut Runner,
    terminal: &Terminal,
    settings: &Settings,
) -> Exit {
    if !terminal.input {
        return runtime.block_on(script::run_all(runner, terminal, &[Input::Stdin]));
    }
    runner.interactive = true;
    let clock = settings.config.clock.clone();
    let functions = runtime.block_on(functions(runner));
    let editor = editor(engine, runner, terminal, settings, functions);
    let mut shell = Shell {
        runtime,
        engine,
        runner,
        terminal,
        clock,
        editor,
    };
    note(terminal, &welcome(settings));
    shell.run()
}

struct Shell<'a> {
    runtime: &'a Runtime,
    engine: &'a Engine,
    runner: &'a mut Runner,
    terminal: &'a Terminal,
    clock: Arc<dyn Clock>,
    editor: Reedline,
}

/// Whether the loop goes on.
type Flow = std::ops::ControlFlow<Exit>;

impl Shell<'_> {
    fn run(&mut self) -> Exit {
        let prompt = Prompt::new(self.terminal);
        loop {
            let line = match self.editor.read_line(&prompt) {
                Ok(Signal::Success(line)) => line,
                Ok(Signal::CtrlD) => return self.leave(),
                Ok(Signal::ExternalBreak(_)) => return Exit::Done,
                Ok(_) if self.runner.signals().terminated() => return Exit::Done,
                // Ctrl-C has cleared the line.
                Ok(_) => continue,
                Err(error) => {
                    // The terminal is gone: that is how SIGHUP looks from here.
                    if !self.runner.signals().terminated() {
                        report(
                            self.terminal,
                            &format!("error: cannot read the terminal: {error}"),
                        );
                    }
                    return Exit::Failed;
                }
            };
            // At once, so that a kill loses nothing that was typed. A history that cannot be
            // written has been complained about at the start.
            let _ = self.editor.sync_history();
            self.runner.signals().forget();
            let flow = match command::parse(&line) {
                Parsed::Command(command) => self.command(command),
                Parsed::Misused(usage) => {
                    report(self.terminal, &format!("error: {usage}"));
                    Flow::Continue(())
                }
                Parsed::Statements => self.statements(&line),
            };
            if let Flow::Break(exit) = flow {
                return exit;
            }
        }
    }

    /// Executes what was typed or pasted, up to the first error.
    fn statements(&mut self, text: &str) -> Flow {
        for (_, statement) in token::statements(text) {
            let before = makes_a_query(statement).then(|| progress::ids(self.engine));
            match self.runtime.block_on(self.runner.execute(statement)) {
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
                progress::follow(
                    self.engine,
                    &before,
                    self.terminal,
                    &*self.clock,
                    self.runner.signals(),
                );
            }
        }
        Flow::Continue(())
    }

    fn command(&mut self, command: Command) -> Flow {
        let done = match command {
            Command::Exit => return Flow::Break(self.leave()),
            Command::Help(topic) => self.print(&help::text(topic.as_deref())),
            Command::Clear => self.editor.clear_scrollback(),
            Command::History => self.history(),
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
                let ended = self
                    .runtime
                    .block_on(script::run(self.runner, self.terminal, &input));
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

    fn history(&self) -> io::Result<()> {
        let all = SearchQuery::everything(SearchDirection::Forward, None);
        let items = self.editor.history().search(all).map_err(io::Error::from)?;
        let mut out = self.terminal.stdout();
        for (index, item) in items.iter().enumerate() {
            let text = crate::output::text::escape_lines(&item.command_line);
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

fn editor(
    engine: &Engine,
    runner: &mut Runner,
    terminal: &Terminal,
    settings: &Settings,
    functions: Vec<String>,
) -> Reedline {
    let mut keys = default_emacs_keybindings();
    keys.add_binding(
        KeyModifiers::NONE,
        KeyCode::Tab,
        ReedlineEvent::UntilFound(vec![
            ReedlineEvent::Menu(MENU.to_owned()),
            ReedlineEvent::MenuNext,
        ]),
    );
    keys.add_binding(
        KeyModifiers::SHIFT,
        KeyCode::BackTab,
        ReedlineEvent::UntilFound(vec![
            ReedlineEvent::Menu(MENU.to_owned()),
            ReedlineEvent::MenuPrevious,
        ]),
    );
    keys.add_binding(
        KeyModifiers::ALT,
        KeyCode::Enter,
        ReedlineEvent::Edit(vec![EditCommand::InsertNewline]),
    );
    let names = {
        let engine = engine.clone();
        move || engine.names()
    };
    let colors = terminal.colors_input();
    let menu = ColumnarMenu::default()
        .with_name(MENU)
        .with_columns(4)
        .with_text_style(Style::new())
        .with_selected_text_style(Style::new().reverse())
        .with_match_text_style(Style::new().bold())
        .with_selected_match_text_style(Style::new().bold().reverse());
    let history = match history::open(&settings.config.data_dir) {
        Ok(history) => history,
        Err(message) => {
            note(terminal, &format!("the history is not kept: {message}"));
            history::in_memory()
        }
    };
    Reedline::create()
        .with_history(history)
        .with_validator(Box::new(Validator))
        .with_highlighter(Box::new(Highlighter))
        .with_completer(Box::new(Completer::new(functions, names)))
        .with_menu(ReedlineMenu::EngineCompleter(Box::new(menu)))
        .with_hinter(Box::new(
            DefaultHinter::default()
                .with_style(Style::new().fg(Color::DarkGray))
                .with_min_chars(2),
        ))
        .with_edit_mode(Box::new(Emacs::new(keys)))
        .with_quick_completions(true)
        .with_partial_completions(true)
        .with_ansi_colors(colors)
        .with_break_signal(runner.signals().leave_flag())
        .use_bracketed_paste(true)
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

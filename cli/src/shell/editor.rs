//! The line editor, on a thread of its own.
//!
//! It blocks while it reads, and when its terminal goes away crossterm reads nothing from it for
//! ever. The program must be able to end nevertheless, so nobody waits for this thread: it is asked
//! for a line and answers, or does not.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use kappa_engine::Engine;
use nu_ansi_term::{Color, Style};
use reedline::{
    ColumnarMenu, DefaultHinter, EditCommand, Emacs, KeyCode, KeyModifiers, MenuBuilder, Reedline,
    ReedlineEvent, ReedlineMenu, SearchDirection, SearchQuery, Signal, default_emacs_keybindings,
};
use tokio::sync::oneshot;

use super::complete::Completer;
use super::highlight::Highlighter;
use super::history;
use super::prompt::Prompt;
use super::validate::Validator;
use crate::report::note;
use crate::settings::Settings;
use crate::signals::Signals;
use crate::terminal::Terminal;

const MENU: &str = "completion";
/// Time the editor gets to give the terminal its mode back when the program is told to end.
const RESTORE: Duration = Duration::from_millis(500);

/// What came of reading a line.
#[derive(Debug)]
pub(super) enum Line {
    Text(String),
    /// Ctrl-C: what was typed is gone.
    Cleared,
    /// Ctrl-D.
    End,
    /// The program is to end.
    Left,
    /// The terminal cannot be read.
    Broken(io::Error),
}

enum Request {
    Read(oneshot::Sender<Line>),
    History(oneshot::Sender<io::Result<Vec<String>>>),
    Clear(oneshot::Sender<io::Result<()>>),
}

/// A handle to the editor.
#[derive(Debug)]
pub(super) struct Editor {
    requests: SyncSender<Request>,
}

impl Editor {
    /// Starts the editor. It stops reading once `leave` is set.
    pub(super) fn start(
        engine: &Engine,
        terminal: &Terminal,
        settings: &Settings,
        functions: Vec<String>,
        leave: Arc<AtomicBool>,
    ) -> io::Result<Self> {
        let (requests, received) = sync_channel(1);
        let engine = engine.clone();
        let terminal = terminal.clone();
        let data_dir = settings.config.data_dir.clone();
        let history = history::open(&data_dir).unwrap_or_else(|message| {
            note(&terminal, &format!("the history is not kept: {message}"));
            history::in_memory()
        });
        std::thread::Builder::new()
            .name("editor".to_owned())
            .spawn(move || {
                let completer = Completer::new(functions, move || engine.names());
                let editor = Reedline::create()
                    .with_history(history)
                    .with_validator(Box::new(Validator))
                    .with_highlighter(Box::new(Highlighter))
                    .with_completer(Box::new(completer))
                    .with_menu(ReedlineMenu::EngineCompleter(Box::new(menu())))
                    .with_hinter(Box::new(hinter()))
                    .with_edit_mode(Box::new(keys()))
                    .with_quick_completions(true)
                    .with_partial_completions(true)
                    .with_ansi_colors(terminal.colors_input())
                    .with_break_signal(leave)
                    .use_bracketed_paste(true);
                serve(editor, &Prompt::new(&terminal), &received);
            })?;
        Ok(Self { requests })
    }

    /// Reads a line, or a statement in several.
    pub(super) async fn read(&self, signals: &mut Signals) -> Line {
        let leaving = async {
            signals.terminate().await;
            tokio::time::sleep(RESTORE).await;
        };
        tokio::select! {
            biased;
            line = self.ask(Request::Read) => line.unwrap_or_else(Line::Broken),
            () = leaving => Line::Left,
        }
    }

    /// What was typed, oldest first.
    pub(super) async fn history(&self) -> io::Result<Vec<String>> {
        self.ask(Request::History).await?
    }

    /// Clears the screen and what was scrolled off it.
    pub(super) async fn clear(&self) -> io::Result<()> {
        self.ask(Request::Clear).await?
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> io::Result<T> {
        let gone = || io::Error::other("the line editor has ended");
        let (sender, answer) = oneshot::channel();
        self.requests.send(request(sender)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }
}

/// The editor's thread: until nobody asks any more. Who asked may be gone when the answer is there.
fn serve(mut editor: Reedline, prompt: &Prompt, requests: &Receiver<Request>) {
    while let Ok(request) = requests.recv() {
        match request {
            Request::Read(answer) => {
                let line = match editor.read_line(prompt) {
                    Ok(Signal::Success(line)) => Line::Text(line),
                    Ok(Signal::CtrlD) => Line::End,
                    Ok(Signal::ExternalBreak(_)) => Line::Left,
                    Ok(_) => Line::Cleared,
                    Err(error) => Line::Broken(error),
                };
                // At once, so that a kill loses nothing that was typed. A history that cannot be
                // written has been complained about at the start.
                let _ = editor.sync_history();
                let _ = answer.send(line);
            }
            Request::History(answer) => {
                let all = SearchQuery::everything(SearchDirection::Forward, None);
                let items = editor.history().search(all).map_err(io::Error::from);
                let lines =
                    items.map(|items| items.into_iter().map(|item| item.command_line).collect());
                let _ = answer.send(lines);
            }
            Request::Clear(answer) => {
                let _ = answer.send(editor.clear_scrollback());
            }
        }
    }
}

fn menu() -> ColumnarMenu {
    ColumnarMenu::default()
        .with_name(MENU)
        .with_columns(4)
        .with_text_style(Style::new())
        .with_selected_text_style(Style::new().reverse())
        .with_match_text_style(Style::new().bold())
        .with_selected_match_text_style(Style::new().bold().reverse())
}

/// The rest of the last statement that began like this one.
fn hinter() -> DefaultHinter {
    DefaultHinter::default()
        .with_style(Style::new().fg(Color::DarkGray))
        .with_min_chars(2)
}

fn keys() -> Emacs {
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
    Emacs::new(keys)
}

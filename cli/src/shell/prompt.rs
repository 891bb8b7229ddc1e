//! What stands before what is typed.

use std::borrow::Cow;

use reedline::{Color, PromptEditMode, PromptHistorySearch, PromptHistorySearchStatus};

use crate::terminal::Terminal;

/// `kappa> `, and dots below it.
pub(super) struct Prompt {
    colors: bool,
}

impl Prompt {
    pub(super) fn new(terminal: &Terminal) -> Self {
        Self {
            colors: terminal.colors_input(),
        }
    }

    fn color(&self, color: Color) -> Color {
        if self.colors { color } else { Color::Default }
    }
}

impl reedline::Prompt for Prompt {
    fn render_prompt_left(&self) -> Cow<'_, str> {
        Cow::Borrowed("kappa")
    }

    fn render_prompt_right(&self) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    fn render_prompt_indicator(&self, _mode: PromptEditMode) -> Cow<'_, str> {
        Cow::Borrowed("> ")
    }

    fn render_prompt_multiline_indicator(&self) -> Cow<'_, str> {
        Cow::Borrowed("    -> ")
    }

    fn render_prompt_history_search_indicator(&self, search: PromptHistorySearch) -> Cow<'_, str> {
        let failing = match search.status {
            PromptHistorySearchStatus::Passing => "",
            PromptHistorySearchStatus::Failing => "not found: ",
        };
        Cow::Owned(format!(" ({failing}{}) ", search.term))
    }

    fn get_prompt_color(&self) -> Color {
        self.color(Color::Green)
    }

    fn get_prompt_multiline_color(&self) -> nu_ansi_term::Color {
        if self.colors {
            nu_ansi_term::Color::DarkGray
        } else {
            nu_ansi_term::Color::Default
        }
    }

    fn get_indicator_color(&self) -> Color {
        self.color(Color::Green)
    }
}

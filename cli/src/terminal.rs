//! What is a terminal and what is a pipe, and the two streams everything is written to.

use std::io::{self, BufWriter, IsTerminal, Write};

/// What the program was started on.
#[derive(Clone, Debug)]
pub(crate) struct Terminal {
    /// Somebody types.
    pub(crate) input: bool,
    /// Results are seen by somebody.
    pub(crate) output: bool,
    /// Errors and the progress bar are seen by somebody.
    pub(crate) errors: bool,
    color: bool,
}

impl Terminal {
    /// Looks at the three standard streams and the environment.
    pub(crate) fn detect() -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            input: io::stdin().is_terminal(),
            output: io::stdout().is_terminal(),
            errors: io::stderr().is_terminal(),
            color: !set("NO_COLOR") && !dumb,
        }
    }

    /// Whether results may be coloured.
    pub(crate) fn colors_output(&self) -> bool {
        self.color && self.output
    }

    /// Whether errors may be coloured.
    pub(crate) fn colors_errors(&self) -> bool {
        self.color && self.errors
    }

    /// Whether what is typed may be coloured: reedline draws on standard error.
    pub(crate) fn colors_input(&self) -> bool {
        self.color
    }

    /// Columns and rows of the terminal that shows results. Asked for each result: windows are
    /// resized.
    pub(crate) fn size(&self) -> Option<(usize, usize)> {
        if !self.output {
            return None;
        }
        match crossterm::terminal::size() {
            Ok((columns, rows)) if columns > 0 && rows > 0 => Some((columns.into(), rows.into())),
            // Some serial lines and containers do not know.
            _ => Some((80, 24)),
        }
    }

    /// Where results go.
    pub(crate) fn stdout(&self) -> Box<dyn Write> {
        Box::new(BufWriter::with_capacity(64 << 10, io::stdout()))
    }

    /// Where everything else goes.
    pub(crate) fn stderr(&self) -> impl Write + use<> {
        io::stderr()
    }
}

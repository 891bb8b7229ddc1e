//! Exit codes, as `kappa --help` lists them.

use std::process::ExitCode;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything that was asked for is done.
    Done,
    /// A statement or the engine failed.
    Failed,
    /// The command line or the configuration file is wrong.
    Usage,
    /// Ctrl-C.
    Interrupted,
    /// SIGTERM or SIGHUP, except where they are the way to end (`kappa run`, the shell).
    Terminated,
}

impl Exit {
    fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            // 128 + the signal's number, as shells have it.
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

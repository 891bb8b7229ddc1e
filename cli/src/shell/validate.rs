//! Whether Enter ends the input or starts another line.

use reedline::ValidationResult;

use super::command::{self, Parsed};
use super::token;

/// Statements end with `;`, commands with the line.
pub(super) struct Validator;

impl reedline::Validator for Validator {
    fn validate(&self, line: &str) -> ValidationResult {
        let ended = token::first(line).is_none()
            || kappa_engine::complete(line)
            || !matches!(command::parse(line), Parsed::Statements);
        if ended {
            ValidationResult::Complete
        } else {
            ValidationResult::Incomplete
        }
    }
}

#[cfg(test)]
mod tests {
    use reedline::Validator as _;

    use super::*;

    #[test]
    fn statements_need_a_semicolon_and_commands_do_not() {
        let complete = |line| matches!(Validator.validate(line), ValidationResult::Complete);
        for line in [
            "",
            "  ",
            "SELECT 1;",
            "SELECT ';\n';",
            "help",
            "exit",
            "\\timing",
            "output json",
        ] {
            assert!(complete(line), "{line}");
        }
        for line in [
            "SELECT 1",
            "SELECT ';",
            "SELECT 1; SELECT",
            "helpless",
            "output\nfrom",
        ] {
            assert!(!complete(line), "{line}");
        }
    }
}

//! The configuration file: `key=value` lines as in a Java properties file.
//!
//! What ksqlDB's and Kafka's users have: `#` and `!` start a comment, `=` or `:` follows the key, a
//! backslash at the end of a line continues it. Java's `\uXXXX` and its other escapes are not
//! understood: a Windows path or a regular expression stands for itself.

/// The properties of a file's text, in order.
///
/// # Errors
/// A line that is none, with its number.
pub(crate) fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut properties = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = line.to_owned();
        while continues(&logical) {
            logical.pop();
            let Some((_, next)) = lines.next() else { break };
            logical.push_str(next.trim_start());
        }
        let number = index + 1;
        let Some((key, value)) = logical.split_once(['=', ':']) else {
            return Err(format!(
                "line {number} is not key=value: {}",
                logical.trim_end()
            ));
        };
        if key.trim().is_empty() {
            return Err(format!("line {number} has no key: {}", logical.trim_end()));
        }
        properties.push((key.trim().to_owned(), value.trim().to_owned()));
    }
    Ok(properties)
}

/// An odd number of backslashes at the end.
fn continues(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_properties() {
        let text =
            "\u{feff}# comment\r\n\n! too\n a = b = c \nd:e\nempty=\nlong=1,\\\n   2\npath=C:\\\\";
        let found = parse(text).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                ("a", "b = c"),
                ("d", "e"),
                ("empty", ""),
                ("long", "1,2"),
                ("path", "C:\\\\")
            ]
        );
    }

    #[test]
    fn a_wrong_line_is_named() {
        assert_eq!(
            parse("a=b\nnonsense \n"),
            Err("line 2 is not key=value: nonsense".to_owned())
        );
        assert_eq!(parse("=b"), Err("line 1 has no key: =b".to_owned()));
    }
}

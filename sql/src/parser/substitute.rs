//! `${name}`: text that DEFINE put under a name, filled in before a statement is parsed.

use std::borrow::Cow;
use std::collections::HashMap;

/// Replaces each `${name}` by its value, inside quotes too. Names have no case: `variables` holds
/// them in upper case, as the parser gives them in DEFINE. What is not defined stays, for the
/// parser to complain about. Values are not searched again.
pub fn substitute<'a>(text: &'a str, variables: &HashMap<String, String>) -> Cow<'a, str> {
    if !text.contains("${") {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let inner = &rest[start + 2..];
        let value = inner
            .find('}')
            .and_then(|end| Some((end, variables.get(&inner[..end].trim().to_uppercase())?)));
        match value {
            Some((end, value)) => {
                out.push_str(&rest[..start]);
                out.push_str(value);
                rest = &inner[end + 1..];
            }
            None => {
                out.push_str(&rest[..start + 2]);
                rest = inner;
            }
        }
    }
    Cow::Owned(out + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in() {
        let variables = HashMap::from([
            ("N".to_owned(), "4".to_owned()),
            ("FORMAT".to_owned(), "'${n}'".to_owned()),
        ]);
        let check = |text, out| assert_eq!(substitute(text, &variables), out);
        check(
            "PARTITIONS=${n}, FORMAT=${Format};",
            "PARTITIONS=4, FORMAT='${n}';",
        );
        check("'a${n}b' ${x} $n ${ n } ${", "'a4b' ${x} $n 4 ${");
        check("${${n}}", "${4}");
    }
}

//! Parts of URLs, and the encoding of their parameters.
//!
//! What a URL is taken for is RFC 2396, as in Java's `URI`: without a scheme there is no host, and a
//! URL with characters that may not be in one is none at all.

use std::borrow::Cow;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;

use super::native::{Call, Get, Native, Overload, Param, takes};

const STRING: fn(&[DataType]) -> DataType = |_| DataType::Utf8;

pub(super) fn all() -> Vec<ScalarUDF> {
    use Param::String;
    static DECODE: &[Overload] = &[takes(&[String], STRING, |call| {
        let text = call.string(0);
        Ok(call.strings(|row| decoded(text.get(row)?, true)))
    })];
    static ENCODE: &[Overload] = &[takes(&[String], STRING, |call| {
        let text = call.string(0);
        Ok(call.strings(|row| text.get(row).map(encoded)))
    })];
    static FRAGMENT: &[Overload] = &[takes(&[String], STRING, |call| {
        part(call, |url| decoded(url.fragment?, false).map(Cow::Owned))
    })];
    static HOST: &[Overload] = &[takes(&[String], STRING, |call| {
        part(call, |url| url.host().map(Cow::Borrowed))
    })];
    static PATH: &[Overload] = &[takes(&[String], STRING, |call| {
        part(call, |url| decoded(url.path, false).map(Cow::Owned))
    })];
    static PROTOCOL: &[Overload] = &[takes(&[String], STRING, |call| {
        part(call, |url| url.scheme.map(Cow::Borrowed))
    })];
    static QUERY: &[Overload] = &[takes(&[String], STRING, |call| {
        part(call, |url| decoded(url.query?, false).map(Cow::Owned))
    })];
    static PORT: &[Overload] = &[takes(
        &[String],
        |_| DataType::Int32,
        |call| {
            let text = call.string(0);
            Ok(call.ints(|row| Url::parse(text.get(row)?)?.port()))
        },
    )];
    static PARAMETER: &[Overload] = &[takes(&[String, String], STRING, |call| {
        let (text, name) = (call.string(0), call.string(1));
        Ok(call.strings(|row| parameter(Url::parse(text.get(row)?)?.query?, name.get(row)?)))
    })];
    vec![
        Native::create("url_decode_param", DECODE),
        Native::create("url_encode_param", ENCODE),
        Native::create("url_extract_fragment", FRAGMENT),
        Native::create("url_extract_host", HOST),
        Native::create("url_extract_parameter", PARAMETER),
        Native::create("url_extract_path", PATH),
        Native::create("url_extract_port", PORT),
        Native::create("url_extract_protocol", PROTOCOL),
        Native::create("url_extract_query", QUERY),
    ]
}

fn part<'a>(call: &'a Call<'a>, of: impl Fn(&Url<'a>) -> Option<Cow<'a, str>>) -> Result<ArrayRef> {
    let text = call.string(0);
    Ok(call.strings(|row| of(&Url::parse(text.get(row)?)?)))
}

/// A URL's parts, as they are written.
#[derive(Debug, PartialEq, Eq)]
struct Url<'a> {
    scheme: Option<&'a str>,
    authority: Option<&'a str>,
    path: &'a str,
    query: Option<&'a str>,
    fragment: Option<&'a str>,
}

impl<'a> Url<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let legal = |c: char| {
            c.is_ascii_alphanumeric() || "-_.!~*'();/?:@&=+$,#[]%".contains(c) || !c.is_ascii()
        };
        if text.is_empty() || !text.chars().all(legal) {
            return None;
        }
        let (rest, fragment) = cut(text, '#');
        let scheme = rest
            .find(':')
            .map(|at| &rest[..at])
            .filter(|scheme| is_scheme(scheme));
        let rest = scheme.map_or(rest, |scheme| &rest[scheme.len() + 1..]);
        if scheme.is_some() && !rest.starts_with('/') {
            // `mailto:somebody` has neither path nor query.
            return (!rest.is_empty()).then_some(Self {
                scheme,
                authority: None,
                path: "",
                query: None,
                fragment,
            });
        }
        let (rest, query) = cut(rest, '?');
        let (authority, path) = match rest.strip_prefix("//") {
            None => (None, rest),
            Some(rest) => {
                let end = rest.find('/').unwrap_or(rest.len());
                (Some(&rest[..end]), &rest[end..])
            }
        };
        Some(Self {
            scheme,
            authority,
            path,
            query,
            fragment,
        })
    }

    /// Host and port, without who asks.
    fn server(&self) -> Option<(&'a str, Option<&'a str>)> {
        let authority = self.authority?;
        let server = authority
            .rsplit_once('@')
            .map_or(authority, |(_, server)| server);
        let digits = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
        match server.rsplit_once(':') {
            Some((host, port)) if digits(port) && !host.ends_with(':') => {
                Some((host, Some(port).filter(|port| !port.is_empty())))
            }
            _ => Some((server, None)),
        }
    }

    fn host(&self) -> Option<&'a str> {
        self.server()
            .map(|(host, _)| host)
            .filter(|host| !host.is_empty())
    }

    fn port(&self) -> Option<i32> {
        self.server()?.1?.parse().ok()
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

fn cut(text: &str, at: char) -> (&str, Option<&str>) {
    match text.split_once(at) {
        Some((before, behind)) => (before, Some(behind)),
        None => (text, None),
    }
}

/// The value of a query's parameter; an empty one where it has none.
fn parameter(query: &str, name: &str) -> Option<String> {
    query.split('&').find_map(|pair| {
        let (key, value) = cut(pair, '=');
        match decoded(key, false)? == name {
            true => decoded(value.unwrap_or_default(), false),
            false => None,
        }
    })
}

/// Text of `%41`, and in a form of `+`. `None` for a `%` without two digits.
fn decoded(text: &str, form: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                (high * 16 + low) as u8
            }
            b'+' if form => b' ',
            other => other,
        });
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Text as a form encodes it.
fn encoded(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            b'.' | b'-' | b'*' | b'_' => out.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            // Writing to a string cannot fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_parts() {
        let url = Url::parse("http://test@example.com:8080/nested/path?query&jobs#top").unwrap();
        assert_eq!(url.scheme, Some("http"));
        assert_eq!((url.host(), url.port()), (Some("example.com"), Some(8080)));
        assert_eq!(url.path, "/nested/path");
        assert_eq!((url.query, url.fragment), (Some("query&jobs"), Some("top")));
        let bare = Url::parse("www.example.com").unwrap();
        assert_eq!((bare.scheme, bare.host(), bare.port()), (None, None, None));
        assert_eq!(Url::parse("http://a b"), None);
    }

    #[test]
    fn parameters_are_encoded_as_in_a_form() {
        assert_eq!(encoded("?foo $bar"), "%3Ffoo+%24bar");
        assert_eq!(
            decoded("url%20encoded+x", true).as_deref(),
            Some("url encoded x")
        );
        assert_eq!(decoded("%4", true), None);
        assert_eq!(
            parameter("one=a&a%20b=c%20d", "a b").as_deref(),
            Some("c d")
        );
        assert_eq!(parameter("one=a", "two"), None);
    }
}

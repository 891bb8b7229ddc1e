//! Finding one's way in JSON text: where strings, numbers and whole values end, checked against
//! RFC 8259 to the letter. Reads forward only, decodes nothing, and knows no columns.
//!
//! This is the part that a structural index made by SIMD instructions would replace: every
//! function asks "where does what starts here end?".

use super::super::number::{load8, skip_digits};

/// How deep objects and arrays may be nested, the record itself included.
pub(super) const DEPTH_MAX: usize = 128;

/// The text is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    /// Where in the text.
    pub(super) at: usize,
    /// What should be there, or what is wrong.
    pub(super) what: &'static str,
}

pub(super) type Scan<T> = Result<T, Flaw>;

#[cold]
fn flaw<T>(at: usize, what: &'static str) -> Scan<T> {
    Err(Flaw { at, what })
}

/// The byte at `at`, or 0, which is no part of JSON, at the end.
#[inline(always)]
pub(super) fn byte(text: &[u8], at: usize) -> u8 {
    text.get(at).copied().unwrap_or(0)
}

/// The first position from `at` on that is not white space.
#[inline(always)]
pub(super) fn skip_blanks(text: &[u8], mut at: usize) -> usize {
    while matches!(byte(text, at), b' ' | b'\n' | b'\r' | b'\t') {
        at += 1;
    }
    at
}

/// The first quote, backslash or control character from `at` on; the length of the text if none.
#[inline(always)]
pub(super) fn find_special(text: &[u8], mut at: usize) -> usize {
    #[cfg(target_arch = "x86_64")]
    while let Some(chunk) = text.get(at..).and_then(|rest| rest.first_chunk::<16>()) {
        let specials = sse2::specials(chunk);
        if specials != 0 {
            return at + specials.trailing_zeros() as usize;
        }
        at += 16;
    }
    loop {
        let specials = specials(load8(text, at));
        if specials != 0 {
            // Beyond the end load8 gives zeros, which count as control characters.
            return at + (specials.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
}

/// The top bit of each of the eight bytes that is a quote, backslash or control character. Exact
/// up to the first of them; those above may be marked wrongly.
#[inline(always)]
fn specials(word: u64) -> u64 {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let zero = |word: u64| word.wrapping_sub(LOW);
    let quotes = zero(word ^ (LOW * b'"' as u64));
    let backslashes = zero(word ^ (LOW * b'\\' as u64));
    let controls = word.wrapping_sub(LOW * 0x20);
    (quotes | backslashes | controls) & !word & HIGH
}

/// The same by instructions that every x86-64 has.
#[cfg(target_arch = "x86_64")]
#[expect(
    unsafe_code,
    reason = "the compiler does not count SSE2 as always there"
)]
mod sse2 {
    use std::arch::x86_64::{
        _mm_cmpeq_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x,
        _mm_set1_epi8,
    };

    /// One bit for each of the 16 bytes that is a quote, backslash or control character.
    #[inline(always)]
    pub(super) fn specials(chunk: &[u8; 16]) -> u32 {
        let whole = i128::from_le_bytes(*chunk);
        // SAFETY: SSE2 is part of x86-64, and these work on registers alone.
        unsafe {
            let bytes = _mm_set_epi64x((whole >> 64) as i64, whole as i64);
            let quotes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'"' as i8));
            let backslashes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\\' as i8));
            let controls = _mm_cmpeq_epi8(bytes, _mm_min_epu8(bytes, _mm_set1_epi8(0x1f)));
            let specials = _mm_or_si128(_mm_or_si128(quotes, backslashes), controls);
            _mm_movemask_epi8(specials) as u32
        }
    }
}

/// A string: where its contents end (its closing quote), and whether there is an escape in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StringEnd {
    pub(super) quote: usize,
    pub(super) escaped: bool,
}

/// The end of the string whose contents start at `at`. Escapes are checked too.
#[inline(always)]
pub(super) fn string_end(text: &[u8], at: usize) -> Scan<StringEnd> {
    let special = find_special(text, at);
    if byte(text, special) == b'"' {
        return Ok(StringEnd {
            quote: special,
            escaped: false,
        });
    }
    escaped_string_end(text, special)
}

#[cold]
fn escaped_string_end(text: &[u8], mut at: usize) -> Scan<StringEnd> {
    loop {
        at = find_special(text, at);
        match byte(text, at) {
            b'"' => {
                return Ok(StringEnd {
                    quote: at,
                    escaped: true,
                });
            }
            b'\\' => at = escape(text, at)?.1,
            _ if at >= text.len() => return flaw(text.len(), "expected the end of the string"),
            _ => return flaw(at, "control characters in strings must be escaped"),
        }
    }
}

/// The character that the escape at `at` (its backslash) stands for, and where the escape ends. A
/// character beyond the Basic Multilingual Plane is two escapes, its surrogates; half of such a
/// pair is no character.
pub(super) fn escape(text: &[u8], at: usize) -> Scan<(char, usize)> {
    let short = match byte(text, at + 1) {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let first = hex4(text, at + 2)?;
            let is_pair = (0xd800..0xdc00).contains(&first)
                && byte(text, at + 6) == b'\\'
                && byte(text, at + 7) == b'u';
            let (code, end) = if is_pair {
                let second = hex4(text, at + 8)?;
                // Wraps into something that is no character if it is no low surrogate.
                let low = second.wrapping_sub(0xdc00);
                let code = if low < 0x400 {
                    0x10000 + ((first - 0xd800) << 10) + low
                } else {
                    first
                };
                (code, at + 12)
            } else {
                (first, at + 6)
            };
            return match char::from_u32(code) {
                Some(char) => Ok((char, end)),
                None => flaw(at, "half of a surrogate pair is no character"),
            };
        }
        _ => return flaw(at, "no such escape in JSON"),
    };
    Ok((short, at + 2))
}

fn hex4(text: &[u8], at: usize) -> Scan<u32> {
    let mut code = 0;
    for i in at..at + 4 {
        match char::from(byte(text, i)).to_digit(16) {
            Some(digit) => code = code << 4 | digit,
            None => return flaw(i.min(text.len()), "expected four hexadecimal digits"),
        }
    }
    Ok(code)
}

/// The end of the number that starts at `at`.
#[inline]
pub(super) fn number_end(text: &[u8], at: usize) -> Scan<usize> {
    let mut end = at + usize::from(byte(text, at) == b'-');
    end = match byte(text, end) {
        b'0' => end + 1,
        b'1'..=b'9' => skip_digits(text, end),
        _ => return flaw(end, "expected a digit"),
    };
    if byte(text, end) == b'.' {
        end += 1;
        if !byte(text, end).is_ascii_digit() {
            return flaw(end, "expected a digit");
        }
        end = skip_digits(text, end);
    }
    if matches!(byte(text, end), b'e' | b'E') {
        end += 1;
        end += usize::from(matches!(byte(text, end), b'+' | b'-'));
        if !byte(text, end).is_ascii_digit() {
            return flaw(end, "expected a digit");
        }
        end = skip_digits(text, end);
    }
    Ok(end)
}

/// The end of the word (`true`, `false`, `null`) that should start at `at`.
#[inline(always)]
pub(super) fn word_end(text: &[u8], at: usize, word: &'static [u8]) -> Scan<usize> {
    if text.get(at..).is_some_and(|rest| rest.starts_with(word)) {
        Ok(at + word.len())
    } else {
        flaw(at, EXPECTED_VALUE)
    }
}

pub(super) const EXPECTED_VALUE: &str = "expected a value";
pub(super) const EXPECTED_KEY: &str = "expected a field name in quotes";
pub(super) const EXPECTED_COLON: &str = "expected ':'";
pub(super) const TOO_DEEP: &str = "nested deeper than 128 levels";

/// The end of the value that starts at `at`, whatever it is, checked down to its leaves. It stands
/// inside `depth` objects and arrays. A loop, not a recursion: depth costs no stack.
#[inline]
pub(super) fn value_end(text: &[u8], at: usize, depth: usize) -> Scan<usize> {
    match byte(text, at) {
        b'"' => Ok(string_end(text, at + 1)?.quote + 1),
        b'{' | b'[' => nested_end(text, at, depth),
        _ => atom_end(text, at),
    }
}

#[inline]
fn atom_end(text: &[u8], at: usize) -> Scan<usize> {
    match byte(text, at) {
        b'-' | b'0'..=b'9' => number_end(text, at),
        b't' => word_end(text, at, b"true"),
        b'f' => word_end(text, at, b"false"),
        b'n' => word_end(text, at, b"null"),
        _ => flaw(at, EXPECTED_VALUE),
    }
}

fn nested_end(text: &[u8], mut at: usize, depth: usize) -> Scan<usize> {
    // One bit per open level, the innermost lowest: 1 is an object. DEPTH_MAX bits.
    let mut open: u128 = 0;
    let mut levels = 0;
    'value: loop {
        match byte(text, at) {
            b'"' => at = string_end(text, at + 1)?.quote + 1,
            start @ (b'{' | b'[') => {
                if depth + levels >= DEPTH_MAX {
                    return flaw(at, TOO_DEEP);
                }
                let is_object = start == b'{';
                open = open << 1 | u128::from(is_object);
                levels += 1;
                at = skip_blanks(text, at + 1);
                if is_object && byte(text, at) != b'}' {
                    at = key_end(text, at)?;
                    continue 'value;
                }
                if !is_object && byte(text, at) != b']' {
                    continue 'value;
                }
                // Empty: the closing bracket is next.
            }
            _ => at = atom_end(text, at)?,
        }
        // A value has ended here, or an empty object or array is about to.
        while levels > 0 {
            at = skip_blanks(text, at);
            let is_object = open & 1 == 1;
            match byte(text, at) {
                b',' if is_object => {
                    at = key_end(text, skip_blanks(text, at + 1))?;
                    continue 'value;
                }
                b',' => {
                    at = skip_blanks(text, at + 1);
                    continue 'value;
                }
                b'}' if is_object => {}
                b']' if !is_object => {}
                _ if is_object => return flaw(at, "expected ',' or '}'"),
                _ => return flaw(at, "expected ',' or ']'"),
            }
            at += 1;
            open >>= 1;
            levels -= 1;
        }
        return Ok(at);
    }
}

/// Where the value behind the key at `at` starts.
#[inline]
fn key_end(text: &[u8], at: usize) -> Scan<usize> {
    let key = key(text, at)?;
    Ok(key.value)
}

/// A field's name, as it stands in the text, and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// Where the name starts, behind its quote.
    pub(super) name: usize,
    /// Where the name ends.
    pub(super) end: StringEnd,
    /// Where the value starts.
    pub(super) value: usize,
}

/// The field that starts at `at`.
#[inline]
pub(super) fn key(text: &[u8], at: usize) -> Scan<Key> {
    if byte(text, at) != b'"' {
        return flaw(at, EXPECTED_KEY);
    }
    let end = string_end(text, at + 1)?;
    let colon = skip_blanks(text, end.quote + 1);
    if byte(text, colon) != b':' {
        return flaw(colon, EXPECTED_COLON);
    }
    Ok(Key {
        name: at + 1,
        end,
        value: skip_blanks(text, colon + 1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn accepts(text: &[u8]) -> bool {
        let start = skip_blanks(text, 0);
        value_end(text, start, 0).is_ok_and(|end| skip_blanks(text, end) == text.len())
            && std::str::from_utf8(text).is_ok()
    }

    #[test]
    fn nesting_is_limited() {
        let nested = |levels| [vec![b'['; levels], vec![b']'; levels]].concat();
        assert!(accepts(&nested(DEPTH_MAX)));
        assert_eq!(
            value_end(&nested(DEPTH_MAX + 1), 0, 0),
            Err(Flaw {
                at: DEPTH_MAX,
                what: TOO_DEEP
            })
        );
        assert!(value_end(&vec![b'['; 1_000_000], 0, 0).is_err());
    }

    #[test]
    fn surrogates_come_in_pairs() {
        assert_eq!(escape(b"\\ud83d\\ude00", 0), Ok(('😀', 12)));
        for bad in [
            "\\ud83d",
            "\\ude00",
            "\\ud83d\\u0041",
            "\\ud83dx",
            "\\ud83d\\n",
            "\\u12g4",
            "\\u12",
        ] {
            assert!(escape(bad.as_bytes(), 0).is_err(), "{bad}");
        }
    }

    /// Text that is often JSON, and nearly JSON otherwise.
    fn nearly_json() -> impl Strategy<Value = String> {
        let token = prop_oneof![
            Just("{".to_owned()),
            Just("}".into()),
            Just("[".into()),
            Just("]".into()),
            Just(",".into()),
            Just(":".into()),
            Just("\"a\"".into()),
            Just("\"".into()),
            Just("null".into()),
            Just("true".into()),
            Just("false".into()),
            Just("tru".into()),
            Just(" ".into()),
            Just("\t\n\r".into()),
            Just("\u{b}".into()),
            "-?[0-9]{0,3}(\\.[0-9]{0,3})?([eE][-+]?[0-9]{0,2})?",
            "\"(\\\\u[0-9a-fA-Fd8]{3,4}|\\\\[\"\\\\/bfnrtx]|[a-z é😀]){0,4}\"",
        ];
        prop::collection::vec(token, 0..12).prop_map(|tokens| tokens.concat())
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        use serde_json::Value;
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            prop::num::f64::NORMAL.prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 60, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((any::<String>(), inner), 0..6)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

        #[test]
        fn accepts_what_serde_json_accepts(text in nearly_json()) {
            let expected = serde_json::from_str::<serde_json::Value>(&text).is_ok();
            prop_assert_eq!(accepts(text.as_bytes()), expected, "{}", text);
        }

        #[test]
        fn mutated_json_is_judged_as_serde_json_does(
            json in any_json(), pretty: bool, at: prop::sample::Index, byte: u8, cut: bool,
        ) {
            let mut text =
                if pretty { serde_json::to_vec_pretty(&json) } else { serde_json::to_vec(&json) }
                    .unwrap();
            prop_assert!(accepts(&text));
            let at = at.index(text.len());
            if cut { text.truncate(at) } else { text[at] = byte }
            let expected = serde_json::from_slice::<serde_json::Value>(&text);
            // A double's limits are no matter of syntax, but it looks no further.
            let limit = |err: &serde_json::Error| err.to_string().contains("out of range");
            prop_assume!(!expected.as_ref().is_err_and(limit));
            prop_assert_eq!(accepts(&text), expected.is_ok(), "{}", String::from_utf8_lossy(&text));
        }

        #[test]
        fn special_characters_are_found(text in prop::collection::vec(
            prop_oneof![Just(b'"'), Just(b'\\'), Just(b'!'), Just(b'#'), any::<u8>(), b'a'..=b'z'], 0..40))
        {
            let expected = text.iter().position(|&b| b == b'"' || b == b'\\' || b < 0x20);
            let first_eight = expected.filter(|&at| at < 8);
            let word = specials(load8(&text, 0)).trailing_zeros() as usize / 8;
            if text.len() >= 8 { prop_assert_eq!(word, first_eight.unwrap_or(8)); }
            prop_assert_eq!(find_special(&text, 0).min(text.len()), expected.unwrap_or(text.len()));
        }
    }
}

//! A JSON value as text, for STRING columns that find something else than a string. It is what
//! ksqlDB makes of it: numbers as Java's `BigDecimal` prints them, objects as compact JSON, arrays
//! as `[a, b]`.

use std::borrow::Cow;
use std::collections::HashMap;

use super::super::column::Mismatch;
use super::super::number::Parts;
use super::scan::{self, byte, skip_blanks};
use super::string;

/// Appends the value at `at` of `text`, which is sound JSON, as text, and says where it ends.
pub(super) fn write(text: &[u8], at: usize, out: &mut Vec<u8>) -> Result<usize, Mismatch> {
    match byte(text, at) {
        b'"' => {
            let contents = contents(text, at + 1)?;
            out.extend_from_slice(&contents.0);
            Ok(contents.1)
        }
        b'[' => write_list(text, at, ", ", write, out),
        _ => write_json(text, at, out),
    }
}

/// Appends the value at `at` as compact JSON, and says where it ends.
fn write_json(text: &[u8], at: usize, out: &mut Vec<u8>) -> Result<usize, Mismatch> {
    match byte(text, at) {
        b'"' => {
            let (contents, end) = contents(text, at + 1)?;
            let contents = std::str::from_utf8(&contents).map_err(|_| Mismatch)?;
            string::write(contents, out);
            Ok(end)
        }
        b'[' => write_list(text, at, ",", write_json, out),
        b'{' => {
            let (fields, end) = fields(text, at)?;
            for (i, (name, value)) in fields.iter().enumerate() {
                out.push(if i == 0 { b'{' } else { b',' });
                string::write(std::str::from_utf8(name).map_err(|_| Mismatch)?, out);
                out.push(b':');
                write_json(text, *value, out)?;
            }
            out.extend_from_slice(if fields.is_empty() { b"{}" } else { b"}" });
            Ok(end)
        }
        b'-' | b'0'..=b'9' => {
            let end = scan::number_end(text, at).map_err(|_| Mismatch)?;
            write_number(&text[at..end], out)?;
            Ok(end)
        }
        _ => {
            let end = scan::value_end(text, at, 0).map_err(|_| Mismatch)?;
            out.extend_from_slice(&text[at..end]);
            Ok(end)
        }
    }
}

type Write = fn(&[u8], usize, &mut Vec<u8>) -> Result<usize, Mismatch>;

fn write_list(
    text: &[u8],
    at: usize,
    separator: &str,
    write_item: Write,
    out: &mut Vec<u8>,
) -> Result<usize, Mismatch> {
    out.push(b'[');
    let mut at = skip_blanks(text, at + 1);
    while byte(text, at) != b']' {
        at = skip_blanks(text, write_item(text, at, out)?);
        if byte(text, at) == b',' {
            out.extend_from_slice(separator.as_bytes());
            at = skip_blanks(text, at + 1);
        }
    }
    out.push(b']');
    Ok(at + 1)
}

/// The contents of the string that starts at `at`, escapes resolved, and where the string ends.
pub(super) fn contents(text: &[u8], at: usize) -> Result<(Cow<'_, [u8]>, usize), Mismatch> {
    let end = scan::string_end(text, at).map_err(|_| Mismatch)?;
    let raw = &text[at..end.quote];
    let contents = if end.escaped {
        let mut contents = Vec::with_capacity(raw.len());
        string::unescape(raw, &mut contents).map_err(|_| Mismatch)?;
        Cow::Owned(contents)
    } else {
        Cow::Borrowed(raw)
    };
    Ok((contents, end.quote + 1))
}

/// The fields of an object: names, and where their values start.
pub(super) type Fields<'a> = Vec<(Cow<'a, [u8]>, usize)>;

/// The fields of the object at `at`, and where it ends. Of two fields of one name the last value
/// counts, in the place of the first, as in Jackson's tree.
pub(super) fn fields(text: &[u8], at: usize) -> Result<(Fields<'_>, usize), Mismatch> {
    let mut fields: Fields<'_> = Vec::new();
    let mut places: HashMap<Cow<'_, [u8]>, usize> = HashMap::new();
    let mut at = skip_blanks(text, at + 1);
    while byte(text, at) != b'}' {
        let key = scan::key(text, at).map_err(|_| Mismatch)?;
        let (name, _) = contents(text, key.name)?;
        let place = *places.entry(name.clone()).or_insert(fields.len());
        match fields.get_mut(place) {
            Some(field) => field.1 = key.value,
            None => fields.push((name, key.value)),
        }
        // The text is sound, and its depth has been counted from the top.
        at = skip_blanks(
            text,
            scan::value_end(text, key.value, 0).map_err(|_| Mismatch)?,
        );
        if byte(text, at) == b',' {
            at = skip_blanks(text, at + 1);
        }
    }
    Ok((fields, at + 1))
}

/// Appends a number as Java's `BigDecimal.toString` prints it: all its digits kept, an exponent
/// only for what is very small or had one.
pub(super) fn write_number(number: &[u8], out: &mut Vec<u8>) -> Result<(), Mismatch> {
    let parts = Parts::parse(number).ok_or(Mismatch)?;
    let mut digits: Vec<u8> = parts
        .digits()
        .skip_while(|&digit| digit == 0)
        .map(|digit| digit + b'0')
        .collect();
    if digits.is_empty() {
        digits.push(b'0');
    } else if parts.negative {
        out.push(b'-');
    }
    let scale = parts.fraction.len() as i64 - parts.exponent;
    if i32::try_from(scale).is_err() {
        return Err(Mismatch);
    }
    let exponent = digits.len() as i64 - 1 - scale;
    if scale == 0 {
        out.extend_from_slice(&digits);
    } else if scale > 0 && exponent >= -6 {
        let whole = digits.len() as i64 - scale;
        if whole > 0 {
            let (whole, fraction) = digits.split_at(whole as usize);
            out.extend_from_slice(whole);
            out.push(b'.');
            out.extend_from_slice(fraction);
        } else {
            out.extend_from_slice(b"0.");
            out.extend(std::iter::repeat_n(b'0', -whole as usize));
            out.extend_from_slice(&digits);
        }
    } else {
        out.push(digits[0]);
        if digits.len() > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        if exponent != 0 {
            out.extend_from_slice(format!("E{exponent:+}").as_bytes());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, expected: &str) {
        let mut out = Vec::new();
        let end = write(json.as_bytes(), 0, &mut out);
        assert_eq!(end, Ok(json.len()), "{json}");
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{json}");
    }

    #[test]
    fn numbers_print_as_big_decimals() {
        check("12", "12");
        check("-0", "0");
        check("1.50", "1.50");
        check("-0.0", "0.0");
        check("1e5", "1E+5");
        check("123e5", "1.23E+7");
        check("100e-1", "10.0");
        check("0.000001", "0.000001");
        check("0.0000001", "1E-7");
        check("0.00000012", "1.2E-7");
        check("0e3", "0E+3");
        check("1e0", "1");
        check(
            "123456789012345678901234567890",
            "123456789012345678901234567890",
        );
        assert_eq!(
            write_number(b"1e99999999999", &mut Vec::new()),
            Err(Mismatch)
        );
    }

    #[test]
    fn arrays_print_as_java_lists_and_objects_as_json() {
        check(
            r#"[1, "a" ,null,[true,{"x" : [1 , 2]}]]"#,
            r#"[1, a, null, [true, {"x":[1,2]}]]"#,
        );
        check(
            r#"{ "a" : "\u0062\n", "b":{},"c":[ ] , "d":1.0}"#,
            r#"{"a":"b\n","b":{},"c":[],"d":1.0}"#,
        );
        check(r#"{"a":1,"b":2,"\u0061":3}"#, r#"{"a":3,"b":2}"#);
    }
}

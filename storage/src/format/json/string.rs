//! Strings in JSON: their escapes resolved, and put back.

use super::scan::{Scan, escape};

/// Appends the contents of a string with its escapes resolved.
pub(super) fn unescape(contents: &[u8], out: &mut Vec<u8>) -> Scan<()> {
    let mut rest = 0;
    while let Some(plain) = memchr::memchr(b'\\', &contents[rest..]) {
        out.extend_from_slice(&contents[rest..rest + plain]);
        let (char, end) = escape(contents, rest + plain)?;
        out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
        rest = end;
    }
    out.extend_from_slice(&contents[rest..]);
    Ok(())
}

/// Appends `text` as a JSON string, escaping what must be and nothing else, the way Jackson does.
pub(super) fn write(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut rest = 0;
    loop {
        let special = super::scan::find_special(bytes, rest).min(bytes.len());
        out.extend_from_slice(&bytes[rest..special]);
        let Some(&byte) = bytes.get(special) else {
            break;
        };
        write_escape(byte, out);
        rest = special + 1;
    }
    out.push(b'"');
}

#[cold]
fn write_escape(byte: u8, out: &mut Vec<u8>) {
    let short = match byte {
        b'"' => b'"',
        b'\\' => b'\\',
        0x8 => b'b',
        0xc => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_back_by_us_and_by_serde_json(text: String, plain in "[ -~\n\u{1}]*") {
            for text in [text, plain] {
                let mut out = Vec::new();
                write(&text, &mut out);
                prop_assert_eq!(&serde_json::from_slice::<String>(&out).unwrap(), &text);
                let mut back = Vec::new();
                unescape(&out[1..out.len() - 1], &mut back).unwrap();
                prop_assert_eq!(back, text.as_bytes());
            }
        }
    }

    #[test]
    fn only_what_must_be_escaped_is() {
        let mut out = Vec::new();
        write("a/é😀\u{7f}\"\\\u{1f}\n", &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "\"a/é😀\u{7f}\\\"\\\\\\u001F\\n\""
        );
    }
}

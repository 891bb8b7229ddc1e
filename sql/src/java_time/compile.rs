//! A pattern's text into its pieces.

use super::{Field, Item, Minutes, Number, OffsetForm, Sign, Style};

/// The pieces of the pattern `text`, or what is wrong with it.
pub(super) fn items(text: &str) -> Result<Vec<Item>, String> {
    let mut chars = text.chars().peekable();
    // The sections that are open, the pattern itself first.
    let mut sections = vec![Section::default()];
    while let Some(char) = chars.next() {
        match char {
            'A'..='Z' | 'a'..='z' => {
                let mut count = 1;
                while chars.next_if_eq(&char).is_some() {
                    count += 1;
                }
                let item = letter(char, count)?;
                last(&mut sections).push(item);
            }
            '\'' => {
                let mut literal = String::new();
                loop {
                    match chars.next() {
                        Some('\'') if chars.next_if_eq(&'\'').is_some() => literal.push('\''),
                        Some('\'') => break,
                        Some(char) => literal.push(char),
                        None => {
                            return Err(format!(
                                "Pattern ends with an incomplete string literal: {text}"
                            ));
                        }
                    }
                }
                // Two quotes are one.
                last(&mut sections).literal(if literal.is_empty() { "'" } else { &literal });
            }
            '[' => sections.push(Section::default()),
            ']' => match sections.pop() {
                Some(section) if !sections.is_empty() => {
                    last(&mut sections).push(Item::Optional(section.items));
                }
                _ => return Err("Pattern invalid as it contains ] without previous [".into()),
            },
            '{' | '}' | '#' => {
                return Err(format!("Pattern includes reserved character: '{char}'"));
            }
            _ => last(&mut sections).literal(char.encode_utf8(&mut [0; 4])),
        }
    }
    // As in Java, what is still open ends here.
    while let Some(section) = sections.pop() {
        match sections.last_mut() {
            Some(outer) => outer.push(Item::Optional(section.items)),
            None => return Ok(section.items),
        }
    }
    Ok(Vec::new())
}

fn last(sections: &mut [Section]) -> &mut Section {
    sections
        .last_mut()
        .expect("the pattern's own section is never closed")
}

/// The pieces between two brackets.
#[derive(Default)]
struct Section {
    items: Vec<Item>,
    /// The number that leaves digits to the numbers of fixed width behind it, as long as nothing
    /// else comes in between.
    open_number: Option<usize>,
}

impl Section {
    fn literal(&mut self, text: &str) {
        if let Some(Item::Literal(before)) = self.items.last_mut() {
            *before = format!("{before}{text}").into();
        } else {
            self.items.push(Item::Literal(text.into()));
        }
        self.open_number = None;
    }

    fn push(&mut self, item: Item) {
        let width = match &item {
            Item::Number(number) => Some((number.min, number.max, number.sign)),
            Item::ShortYear(_) => Some((2, 2, Sign::Never)),
            _ => None,
        };
        self.open_number = match (width, self.open_number) {
            (None, _) => None,
            (Some((min, max, Sign::Never)), Some(open)) if min == max => {
                if let Item::Number(number) = &mut self.items[open] {
                    number.reserved += max;
                }
                Some(open)
            }
            (Some(_), _) => Some(self.items.len()),
        };
        self.items.push(item);
    }
}

/// What a run of a letter means.
fn letter(letter: char, count: usize) -> Result<Item, String> {
    let too_many = || Err(format!("Too many pattern letters: {letter}"));
    let number = |field, min, max, sign| {
        Ok(Item::Number(Number {
            field,
            min,
            max,
            sign,
            reserved: 0,
        }))
    };
    let text = |field| match count {
        1..=3 => Ok(Item::Text(field, Style::Short)),
        4 => Ok(Item::Text(field, Style::Full)),
        5 => Ok(Item::Text(field, Style::Narrow)),
        _ => too_many(),
    };
    let two_digits = |field| match count {
        1 => number(field, 1, DIGITS_MAX, Sign::Minus),
        2 => number(field, 2, 2, Sign::Never),
        _ => too_many(),
    };
    match letter {
        'u' | 'y' => {
            let field = if letter == 'u' {
                Field::Year
            } else {
                Field::YearOfEra
            };
            match count {
                2 => Ok(Item::ShortYear(field)),
                1 | 3 => number(field, count, DIGITS_MAX, Sign::Minus),
                _ if count > DIGITS_MAX => too_many(),
                _ => number(field, count, DIGITS_MAX, Sign::PlusIfLong),
            }
        }
        'M' | 'L' if count <= 2 => two_digits(Field::Month),
        'M' | 'L' => match text(Field::Month)? {
            Item::Text(field, _) if count == 3 => Ok(Item::Text(field, Style::Short)),
            item => Ok(item),
        },
        'd' => two_digits(Field::Day),
        'D' => match count {
            1 => number(Field::DayOfYear, 1, DIGITS_MAX, Sign::Minus),
            2 | 3 => number(Field::DayOfYear, count, 3, Sign::Never),
            _ => too_many(),
        },
        'E' => text(Field::Weekday),
        'G' => text(Field::Era),
        'a' if count == 1 => Ok(Item::Text(Field::HalfDay, Style::Short)),
        'H' => two_digits(Field::Hour),
        'k' => two_digits(Field::ClockHour),
        'K' => two_digits(Field::HalfDayHour),
        'h' => two_digits(Field::HalfDayClockHour),
        'm' => two_digits(Field::Minute),
        's' => two_digits(Field::Second),
        'S' if count <= 9 => number(Field::Fraction, count, count, Sign::Never),
        'n' | 'A' | 'N' if count <= DIGITS_MAX => {
            let field = match letter {
                'n' => Field::Nano,
                'A' => Field::MilliOfDay,
                _ => Field::NanoOfDay,
            };
            number(field, count, DIGITS_MAX, Sign::Never)
        }
        'X' | 'x' | 'Z' => offset(letter, count).map_or_else(too_many, Ok),
        'O' if count == 1 || count == 4 => Ok(Item::LocalizedOffset { full: count == 4 }),
        'V' if count == 2 => Ok(Item::ZoneId),
        'z' if count <= 4 => Ok(Item::ZoneName { full: count == 4 }),
        'V' | 'O' => Err(format!(
            "Pattern letter count must be {}: {letter}",
            if letter == 'V' { "2" } else { "1 or 4" }
        )),
        'a' | 'S' | 'n' | 'A' | 'N' | 'z' => too_many(),
        'Q' | 'q' | 'Y' | 'w' | 'W' | 'e' | 'c' | 'F' | 'g' | 'B' | 'v' | 'p' => {
            Err(format!("Pattern letter is not supported yet: {letter}"))
        }
        _ => Err(format!("Unknown pattern letter: {letter}")),
    }
}

/// As many as always fit an `i64`.
const DIGITS_MAX: usize = 18;

fn offset(letter: char, count: usize) -> Option<Item> {
    let (minutes, colons, seconds) = match (letter, count) {
        ('Z', 1..=3) => (Minutes::Always, false, false),
        ('Z', 4) => return Some(Item::LocalizedOffset { full: true }),
        ('X' | 'x', 1) => (Minutes::IfAny, false, false),
        ('X' | 'x', 2) => (Minutes::Always, false, false),
        ('X' | 'x', 3) => (Minutes::Always, true, false),
        ('X' | 'x', 4) => (Minutes::Always, false, true),
        (_, 5) => (Minutes::Always, true, true),
        _ => return None,
    };
    let zero = match (letter, count) {
        ('X', _) | ('Z', 5) => "Z",
        ('x', 1) => "+00",
        ('x', 3 | 5) => "+00:00",
        _ => "+0000",
    };
    Some(Item::Offset(OffsetForm {
        colons,
        minutes,
        seconds,
        zero,
    }))
}

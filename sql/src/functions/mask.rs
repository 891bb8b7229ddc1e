//! MASK and its kin: characters replaced by ones that only say of which kind they were.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;

use super::native::{Call, Get, Native, Overload, Param, takes};

const STRING: fn(&[DataType]) -> DataType = |_| DataType::Utf8;

pub(super) fn all() -> Vec<ScalarUDF> {
    use Param::{Int, String};
    static MASK: &[Overload] = &[
        takes(&[String], STRING, |call| mask(call, Part::All)),
        takes(&[String, String, String, String, String], STRING, |call| {
            mask(call, Part::All)
        }),
    ];
    macro_rules! partial {
        ($part:expr) => {
            &[
                takes(&[String, Int], STRING, |call| mask(call, $part)),
                takes(
                    &[String, Int, String, String, String, String],
                    STRING,
                    |call| mask(call, $part),
                ),
            ]
        };
    }
    static LEFT: &[Overload] = partial!(Part::Left);
    static RIGHT: &[Overload] = partial!(Part::Right);
    static KEEP_LEFT: &[Overload] = partial!(Part::AllButLeft);
    static KEEP_RIGHT: &[Overload] = partial!(Part::AllButRight);
    vec![
        Native::create("mask", MASK),
        Native::create("mask_left", LEFT),
        Native::create("mask_right", RIGHT),
        Native::create("mask_keep_left", KEEP_LEFT),
        Native::create("mask_keep_right", KEEP_RIGHT),
    ]
}

/// Which characters are masked, of how many the second argument says.
#[derive(Clone, Copy)]
enum Part {
    All,
    Left,
    Right,
    AllButLeft,
    AllButRight,
}

fn mask(call: &Call<'_>, part: Part) -> Result<ArrayRef> {
    let text = call.string(0);
    let first = match part {
        Part::All => 1,
        _ => 2,
    };
    Ok(call.strings(|row| {
        let text = text.get(row)?;
        let count = match part {
            Part::All => 0,
            _ => usize::try_from(call.int(1).get(row)?).ok()?,
        };
        // NULL for a kind leaves its characters as they are.
        let mut kinds = ['X', 'x', 'n', '-'].map(Some);
        if call.args.len() > first {
            for (index, kind) in kinds.iter_mut().enumerate() {
                *kind = call
                    .string(first + index)
                    .get(row)
                    .and_then(|text| text.chars().next());
            }
        }
        let len = text.chars().count();
        let masked = |index: usize| match part {
            Part::All => true,
            Part::Left => index < count,
            Part::Right => index >= len.saturating_sub(count),
            Part::AllButLeft => index >= count,
            Part::AllButRight => index < len.saturating_sub(count),
        };
        let characters = text.chars().enumerate();
        let masked = characters.map(|(index, c)| match masked(index) {
            true => replaced(c, &kinds),
            false => c,
        });
        Some(masked.collect::<String>())
    }))
}

/// What stands for a character: upper case, lower case, digit, any other.
fn replaced(c: char, [upper, lower, digit, other]: &[Option<char>; 4]) -> char {
    let kind = match c {
        c if c.is_uppercase() => upper,
        c if c.is_lowercase() => lower,
        c if c.is_numeric() => digit,
        _ => other,
    };
    kind.unwrap_or(c)
}

#[cfg(test)]
mod tests {
    use super::replaced;

    #[test]
    fn characters_are_replaced_by_their_kind() {
        let kinds = ['X', 'x', 'n', '-'].map(Some);
        let masked: String = "My Test $123"
            .chars()
            .map(|c| replaced(c, &kinds))
            .collect();
        assert_eq!(masked, "Xx-Xxxx--nnn");
        let kept: String = "aB1"
            .chars()
            .map(|c| replaced(c, &[None, Some('*'), None, None]))
            .collect();
        assert_eq!(kept, "*B1");
    }
}

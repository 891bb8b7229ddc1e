//! Finding the column of a JSON field: by its exact name, otherwise by its name in upper case, so
//! `userId` is column USERID. And guessing it: the next record most likely has the fields of the
//! last one, in its order and spelling.

use std::collections::HashMap;

use super::super::number::load8;
use super::scalar::Refused;
use super::scan::{Key, byte};
use super::text;

/// The names of an object's columns.
#[derive(Debug)]
pub(super) struct Names {
    columns: HashMap<Box<str>, u32>,
    /// Whether one JSON field may be two columns at once, `a` and `A`.
    pub(super) ambiguous: bool,
}

impl Names {
    pub(super) fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let columns: HashMap<Box<str>, u32> = names.map(Box::from).zip(0..).collect();
        let ambiguous = columns.keys().any(|name| {
            let upper = name.to_uppercase();
            upper != **name && columns.contains_key(upper.as_str())
        });
        Self { columns, ambiguous }
    }

    /// The column that a field means, if it is the only one of its name.
    pub(super) fn column(&self, json: &[u8], key: Key) -> Result<Option<u32>, Refused> {
        let (name, _) = text::contents(json, key.name)?;
        let name = std::str::from_utf8(&name).map_err(|_| Refused)?;
        Ok(self.exact(name).or_else(|| self.folded(name)))
    }

    /// The column of exactly this name.
    pub(super) fn exact(&self, name: &str) -> Option<u32> {
        self.columns.get(name).copied()
    }

    /// The column that `name` means if no field has the column's exact name.
    pub(super) fn folded(&self, name: &str) -> Option<u32> {
        let is_upper = |byte: u8| byte.is_ascii() && !byte.is_ascii_lowercase();
        if name.bytes().all(is_upper) {
            return None;
        }
        let upper = name.to_uppercase();
        if upper == name {
            None
        } else {
            self.exact(&upper)
        }
    }
}

/// What the fields of the last objects looked like, in order: the text from behind the `{` or `,`
/// to the value – name, colon, blanks – and the column it means. Comparing that text with the next
/// record's takes the place of parsing it and looking its name up.
#[derive(Debug, Default)]
pub(super) struct Shape {
    guesses: Vec<Guess>,
    /// How many more may be learned in this batch. Objects whose fields are different every time
    /// are not worth an allocation for each.
    learnable: usize,
}

#[derive(Debug)]
struct Guess {
    text: Box<[u8]>,
    /// The first eight bytes, under `mask` if the text is shorter; and the last eight.
    head: u64,
    mask: u64,
    tail: u64,
    column: Option<u32>,
}

/// How many fields are remembered, how many of them new in one batch, how long their text may be,
/// and how many of them an object may leave out in a row before we look its next field up by name.
const GUESSES_MAX: usize = 2048;
const LEARNED_MAX: usize = 512;
const TEXT_MAX: usize = 256;
const LOOK_AHEAD: usize = 8;

impl Shape {
    /// Prepares for the next batch.
    pub(super) fn begin_batch(&mut self) {
        self.learnable = LEARNED_MAX;
        if self.guesses.len() + LEARNED_MAX > GUESSES_MAX {
            // Better to learn anew than to keep what is rarely right.
            self.guesses.clear();
        }
    }

    /// The column and the value's place of the field at `at`, if it looks like the guess `next` or
    /// one soon after it. `next` then moves behind that guess.
    #[inline(always)]
    pub(super) fn guess(
        &self,
        next: &mut usize,
        text: &[u8],
        at: usize,
    ) -> Option<(Option<u32>, usize)> {
        let guess = self.guesses.get(*next)?;
        if guess.matches(text, at) {
            *next += 1;
            return Some((guess.column, at + guess.text.len()));
        }
        self.guess_later(next, text, at)
    }

    fn guess_later(
        &self,
        next: &mut usize,
        text: &[u8],
        at: usize,
    ) -> Option<(Option<u32>, usize)> {
        let later = &self.guesses[*next + 1..];
        let place = later
            .iter()
            .take(LOOK_AHEAD)
            .position(|guess| guess.matches(text, at))?;
        *next += 1 + place + 1;
        let guess = &later[place];
        Some((guess.column, at + guess.text.len()))
    }

    /// Remembers that a field of this text, met where the guess `next` stands, is `column`.
    #[cold]
    pub(super) fn learn(&mut self, next: &mut usize, text: &[u8], column: Option<u32>) {
        if text.len() > TEXT_MAX || self.learnable == 0 {
            return;
        }
        self.learnable -= 1;
        let len = text.len();
        let guess = Guess {
            head: load8(text, 0),
            mask: if len < 8 {
                !(u64::MAX << (8 * len))
            } else {
                u64::MAX
            },
            tail: load8(text, len.saturating_sub(8)),
            text: text.into(),
            column,
        };
        self.guesses.insert(*next, guess);
        *next += 1;
    }
}

impl Guess {
    #[inline(always)]
    fn matches(&self, text: &[u8], at: usize) -> bool {
        let len = self.text.len();
        if load8(text, at) & self.mask != self.head {
            return false;
        }
        if len > 8 && load8(text, at + len - 8) != self.tail {
            return false;
        }
        if len > 16 && text.get(at..at + len) != Some(&self.text) {
            return false;
        }
        // More blanks than last time belong to the name, not to the value.
        byte(text, at + len) > b' '
    }
}

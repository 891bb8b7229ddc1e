//! How wide each column of a table is.

/// What a column would like.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wish {
    /// Columns of its name.
    pub(crate) header: usize,
    /// Columns of its widest value so far.
    pub(crate) body: usize,
    /// Whether values must not be cut: half a number is another number.
    pub(crate) rigid: bool,
}

/// How rows are laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Side by side, in these widths.
    Columns(Vec<usize>),
    /// Below each other, a line a value: there are too many for the terminal.
    Records,
}

/// Between two columns: ` | `.
const SEPARATOR: usize = 3;
/// A column of text is not made narrower than that: a table of slivers reads worse than records.
const LEAST: usize = 14;
/// A name is cut to no less than that where its values are short.
const LEAST_NAME: usize = 8;

/// Fits the columns into a terminal; as they wish if there is none.
pub(crate) fn fit(wishes: &[Wish], terminal: Option<usize>) -> Layout {
    let natural: Vec<usize> = wishes
        .iter()
        .map(|wish| wish.header.max(wish.body).max(1))
        .collect();
    let Some(terminal) = terminal else {
        return Layout::Columns(natural);
    };
    let separators = SEPARATOR * wishes.len().saturating_sub(1);
    let room = terminal.saturating_sub(separators);
    if natural.iter().sum::<usize>() <= room {
        return Layout::Columns(natural);
    }
    let least: Vec<usize> = wishes
        .iter()
        .map(|wish| {
            let header = wish.header.min(LEAST_NAME);
            let body = if wish.rigid {
                wish.body
            } else {
                wish.body.min(LEAST)
            };
            header.max(body).max(1)
        })
        .collect();
    if least.iter().sum::<usize>() > room {
        return Layout::Records;
    }
    // The widest columns give way first, all to the same width.
    let at = |limit: usize| {
        natural
            .iter()
            .zip(&least)
            .map(move |(n, least)| *n.min(&limit.max(*least)))
    };
    let (mut fits, mut too_wide) = (0, terminal);
    while fits + 1 < too_wide {
        let limit = (fits + too_wide) / 2;
        if at(limit).sum::<usize>() <= room {
            fits = limit;
        } else {
            too_wide = limit;
        }
    }
    let mut widths: Vec<usize> = at(fits).collect();
    // What the division left over.
    let mut spare = room - widths.iter().sum::<usize>();
    for (width, natural) in widths.iter_mut().zip(&natural) {
        if spare > 0 && *width < *natural {
            *width += 1;
            spare -= 1;
        }
    }
    Layout::Columns(widths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(wishes: &[(usize, usize, bool)], terminal: usize, layout: &[usize]) {
        let wishes: Vec<_> = wishes
            .iter()
            .map(|&(header, body, rigid)| Wish {
                header,
                body,
                rigid,
            })
            .collect();
        let expected = match layout {
            [] => Layout::Records,
            widths => Layout::Columns(widths.to_vec()),
        };
        assert_eq!(fit(&wishes, Some(terminal)), expected);
    }

    #[test]
    fn columns_are_as_wide_as_they_wish_if_there_is_room() {
        check(&[(4, 2, false), (1, 9, true)], 16, &[4, 9]);
        let wishes = [Wish {
            header: 1,
            body: 500,
            rigid: false,
        }];
        assert_eq!(fit(&wishes, None), Layout::Columns(vec![500]));
    }

    #[test]
    fn the_widest_give_way_and_numbers_do_not() {
        check(&[(4, 100, false), (1, 19, true)], 40, &[18, 19]);
        check(
            &[(4, 100, false), (4, 100, false), (4, 10, false)],
            57,
            &[21, 20, 10],
        );
        // A long name over small numbers may be cut.
        check(&[(30, 3, true), (4, 40, false)], 40, &[19, 18]);
    }

    #[test]
    fn what_cannot_fit_becomes_records() {
        check(&[(4, 100, false), (1, 19, true)], 29, &[]);
        check(&[(1, 1, false); 40], 100, &[]);
    }
}

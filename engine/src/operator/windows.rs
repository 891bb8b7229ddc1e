//! Which windows a row belongs to, and which rows come too late.

use std::collections::BTreeMap;

/// Tumbling and hopping windows: `[k × advance, k × advance + size)`. Milliseconds throughout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hopping {
    pub(crate) size_ms: i64,
    pub(crate) advance_ms: i64,
    pub(crate) grace_ms: i64,
}

/// Rows put into windows: entry i says that input row `rows[i]` belongs to the window that starts
/// at `starts[i]`. A row in several windows stands several times.
#[derive(Debug, Default)]
pub(crate) struct Assigned {
    pub(crate) rows: Vec<u32>,
    pub(crate) starts: Vec<i64>,
    /// Whether `rows` is just 0, 1, 2 …: nothing was dropped or repeated.
    pub(crate) identity: bool,
}

/// Late rows by window start.
pub(crate) type Late = BTreeMap<i64, u64>;

impl Hopping {
    /// Puts rows into their windows, in order. `stream_time` is the largest row time seen, advanced
    /// by each row before it is judged; a row is late for a window whose end + grace it has passed.
    pub(crate) fn assign(
        &self,
        rowtimes: &[i64],
        kept: Option<&[u32]>,
        stream_time: &mut i64,
        late: &mut Late,
    ) -> Assigned {
        let mut assigned = Assigned {
            identity: kept.is_none(),
            ..Assigned::default()
        };
        let rows = kept.map_or(rowtimes.len(), <[u32]>::len);
        assigned.rows.reserve(rows);
        assigned.starts.reserve(rows);
        for index in 0..rows {
            let row = kept.map_or(index as u32, |kept| kept[index]);
            let time = rowtimes[row as usize];
            *stream_time = time.max(*stream_time);
            let first = time
                .saturating_sub(self.size_ms)
                .saturating_add(self.advance_ms)
                .max(0)
                / self.advance_ms
                * self.advance_ms;
            let mut start = first;
            let mut windows = 0;
            while start <= time {
                // end + grace <= stream time, written so that it cannot overflow.
                if start
                    .saturating_add(self.size_ms)
                    .saturating_add(self.grace_ms)
                    <= *stream_time
                {
                    *late.entry(start).or_default() += 1;
                } else {
                    assigned.rows.push(row);
                    assigned.starts.push(start);
                    windows += 1;
                }
                let Some(next) = start.checked_add(self.advance_ms) else {
                    break;
                };
                start = next;
            }
            assigned.identity &= windows == 1;
        }
        assigned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assign(window: Hopping, times: &[i64], stream_time: i64) -> (Vec<(u32, i64)>, Late) {
        let mut stream_time = stream_time;
        let mut late = Late::new();
        let assigned = window.assign(times, None, &mut stream_time, &mut late);
        (
            assigned.rows.into_iter().zip(assigned.starts).collect(),
            late,
        )
    }

    #[test]
    fn tumbling_takes_each_row_once() {
        let window = Hopping {
            size_ms: 10,
            advance_ms: 10,
            grace_ms: 0,
        };
        let (rows, late) = assign(window, &[0, 9, 10, 25], -1);
        assert_eq!(rows, [(0, 0), (1, 0), (2, 10), (3, 20)]);
        assert!(late.is_empty());
    }

    #[test]
    fn hopping_repeats_rows_and_starts_at_zero() {
        let window = Hopping {
            size_ms: 10,
            advance_ms: 4,
            grace_ms: 100,
        };
        let (rows, _) = assign(window, &[1, 9], -1);
        assert_eq!(rows, [(0, 0), (1, 0), (1, 4), (1, 8)]);
    }

    #[test]
    fn late_when_end_and_grace_have_passed() {
        let window = Hopping {
            size_ms: 10,
            advance_ms: 10,
            grace_ms: 5,
        };
        // 14 keeps the first window open, 15 closes it.
        let (rows, late) = assign(window, &[14, 3, 15, 3], -1);
        assert_eq!(rows, [(0, 10), (1, 0), (2, 10)]);
        assert_eq!(late, Late::from([(0, 1)]));
    }

    #[test]
    fn the_far_future_does_not_overflow() {
        let window = Hopping {
            size_ms: 10,
            advance_ms: 10,
            grace_ms: i64::MAX,
        };
        let (rows, late) = assign(window, &[i64::MAX - 20], -1);
        assert_eq!(rows.len(), 1);
        assert!(late.is_empty());
    }
}

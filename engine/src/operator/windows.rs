//! Which windows a row belongs to, and which rows come too late.

use std::collections::BTreeMap;

/// Tumbling and hopping windows: `[k × advance, k × advance + size)`. Milliseconds throughout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hopping {
    pub(crate) size_ms: i64,
    pub(crate) advance_ms: i64,
    pub(crate) grace_ms: i64,
}

/// The rows of a batch that belong to the window that starts then; `None` is every row.
pub(crate) type Assigned = (i64, Option<Vec<u32>>);

/// Late rows by window start.
pub(crate) type Late = BTreeMap<i64, u64>;

impl Hopping {
    /// Puts rows into their windows; those come in order. `stream_time` is the largest row time
    /// seen, advanced by each row before it is judged; a row is late for a window whose end + grace
    /// it has passed. `kept` are the rows to look at, all where `None`.
    pub(crate) fn assign(
        &self,
        rowtimes: &[i64],
        kept: Option<&[u32]>,
        stream_time: &mut i64,
        late: &mut Late,
    ) -> Vec<Assigned> {
        if kept.is_none()
            && let Some(starts) = self.same_windows(rowtimes, stream_time)
        {
            return starts.into_iter().map(|start| (start, None)).collect();
        }
        let mut windows: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
        let rows = kept.map_or(rowtimes.len(), <[u32]>::len);
        for index in 0..rows {
            let row = kept.map_or(index as u32, |kept| kept[index]);
            let time = rowtimes[row as usize];
            *stream_time = time.max(*stream_time);
            let mut start = self.first_start(time);
            while start <= time {
                if self.is_over(start, *stream_time) {
                    *late.entry(start).or_default() += 1;
                } else {
                    windows.entry(start).or_default().push(row);
                }
                let Some(next) = start.checked_add(self.advance_ms) else {
                    break;
                };
                start = next;
            }
        }
        windows
            .into_iter()
            .map(|(start, rows)| (start, Some(rows)))
            .collect()
    }

    /// The starts of the windows that all these rows belong to, where they belong to the same ones
    /// and none is late: the rule, as a batch is mostly short compared with a window.
    fn same_windows(&self, rowtimes: &[i64], stream_time: &mut i64) -> Option<Vec<i64>> {
        let (mut least, mut most) = (i64::MAX, i64::MIN);
        for time in rowtimes {
            least = least.min(*time);
            most = most.max(*time);
        }
        let latest = most.max(*stream_time);
        let first = self.first_start(least);
        let same = (0..=most).contains(&least)
            && first == self.first_start(most)
            && least / self.advance_ms == most / self.advance_ms
            && !self.is_over(first, latest);
        if !same {
            return None;
        }
        *stream_time = latest;
        let mut starts = Vec::new();
        let mut start = Some(first);
        while let Some(of) = start.filter(|start| *start <= least) {
            starts.push(of);
            start = of.checked_add(self.advance_ms);
        }
        Some(starts)
    }

    /// The start of the first window that `time` is in; none starts before 0.
    fn first_start(&self, time: i64) -> i64 {
        time.saturating_sub(self.size_ms)
            .saturating_add(self.advance_ms)
            .max(0)
            / self.advance_ms
            * self.advance_ms
    }

    /// Whether the window that starts at `start` takes no more rows: end + grace <= stream time,
    /// written so that it cannot overflow.
    pub(crate) fn is_over(&self, start: i64, stream_time: i64) -> bool {
        start
            .saturating_add(self.size_ms)
            .saturating_add(self.grace_ms)
            <= stream_time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows with the windows that they are in, by row; the same whether the rows are looked at
    /// together or by name.
    fn assign(window: Hopping, times: &[i64], stream_time: i64) -> (Vec<(u32, i64)>, Late) {
        let all: Vec<u32> = (0..times.len() as u32).collect();
        let run = |kept: Option<&[u32]>| {
            let (mut stream_time, mut late) = (stream_time, Late::new());
            let mut rows = Vec::new();
            for (start, of) in window.assign(times, kept, &mut stream_time, &mut late) {
                let of = of.unwrap_or_else(|| all.clone());
                rows.extend(of.into_iter().map(|row| (row, start)));
            }
            rows.sort_unstable();
            (rows, late, stream_time)
        };
        let (rows, late, latest) = run(None);
        assert_eq!(run(Some(&all)), (rows.clone(), late.clone(), latest));
        (rows, late)
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
    fn rows_of_the_same_windows_are_not_told_apart() {
        let window = Hopping {
            size_ms: 10,
            advance_ms: 4,
            grace_ms: 0,
        };
        let mut stream_time = -1;
        let mut late = Late::new();
        let mut run = |times: &[i64]| window.assign(times, None, &mut stream_time, &mut late);
        assert_eq!(run(&[9, 8, 9]), [(0, None), (4, None), (8, None)]);
        // 10 is not in the first window any more, nor late for it when it has passed.
        let split = run(&[9, 10]);
        assert_eq!(split[0], (0, Some(vec![0])));
        assert_eq!(split[1], (4, Some(vec![0, 1])));
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

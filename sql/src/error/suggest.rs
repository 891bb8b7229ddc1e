//! "Did you mean": the candidate nearest to what was written.

/// Longer names are not compared: the table of distances would be large, and nobody mistypes
/// one name of that length for another.
const COMPARED_CHARS_MAX: usize = 64;

/// The candidate closest to `wanted`, whatever its case, if it is close enough to be meant: one
/// edit in short names, up to a third of the characters in longer ones. Of equals, the first.
pub fn suggest<'a>(wanted: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted: Vec<char> = wanted.to_uppercase().chars().collect();
    if wanted.len() > COMPARED_CHARS_MAX {
        return None;
    }
    let allowed = (wanted.len() / 3).max(1);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let chars: Vec<char> = candidate.to_uppercase().chars().collect();
        if chars.len() > COMPARED_CHARS_MAX || chars.len().abs_diff(wanted.len()) > allowed {
            continue;
        }
        let distance = edits(&wanted, &chars);
        // All characters replaced is a different name, not a slip.
        let close = distance <= allowed && distance < chars.len().max(wanted.len());
        if close && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`.
fn edits(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &y) in b.iter().enumerate() {
            let mut least = (above[j + 1] + 1)
                .min(row[j] + 1)
                .min(above[j] + usize::from(x != y));
            if i > 0 && j > 0 && x == b[j - 1] && a[i - 1] == y {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_suggested_and_far_ones_are_not() {
        let columns = ["page", "user", "time", "IP"];
        assert_eq!(suggest("pge", columns), Some("page"));
        assert_eq!(suggest("PAGE", columns), Some("page"));
        assert_eq!(suggest("tiem", columns), Some("time"));
        assert_eq!(suggest("ipp", columns), Some("IP"));
        assert_eq!(suggest("country", columns), None);
        assert_eq!(suggest("x", columns), None);
        assert_eq!(suggest("", columns), None);
        assert_eq!(suggest("a", ["b"]), None);
        assert_eq!(
            suggest("creat", ["ALTER", "CREATE", "DROP"]),
            Some("CREATE")
        );
        assert_eq!(suggest(&"x".repeat(1000), columns), None);
    }
}

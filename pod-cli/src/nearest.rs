//! The name a user probably meant.

/// The one of `names` that is nearest to `word`, if one is near: at most a third of its letters
/// differ (optimal string alignment distance), or it begins with `word`.
pub(crate) fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (word.chars().count() / 3).max(1);
    names
        .into_iter()
        .filter(|n| *n != word)
        .map(|n| {
            let begins = word.len() >= 2 && n.starts_with(word);
            (if begins { 0 } else { distance(word, n) }, n)
        })
        .filter(|(d, _)| *d <= allowed)
        .min()
        .map(|(_, n)| n)
}

/// How many letters are to be added, removed, changed or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let change = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = change.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_name_is_found_and_a_far_one_is_not() {
        let names = ["web", "database", "proxy-1"];
        assert_eq!(nearest("wbe", names), Some("web"));
        assert_eq!(nearest("databse", names), Some("database"));
        assert_eq!(nearest("prox", names), Some("proxy-1"));
        assert_eq!(nearest("queue", names), None);
        assert_eq!(nearest("web", ["web"]), None);
    }
}

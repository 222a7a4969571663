//! Suggestions for misspelt words.

/// Returns the candidate with the smallest edit distance from `word`, without regard to case. `None` if more than half
/// of the word would have to change.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = word.to_lowercase();
    let (distance, best) = candidates
        .into_iter()
        .map(|candidate| (edit_distance(&folded, &candidate.to_lowercase()), candidate))
        .min_by_key(|(distance, _)| *distance)?;
    // Half of the word may differ: `schedTasks` is five letters away from `scheduledTasks`.
    (distance * 2 <= word.chars().count().max(2)).then_some(best)
}

/// Returns the Levenshtein distance: the number of characters to insert, delete or replace.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_word_finds_its_neighbour() {
        let known = ["scheduledTasks", "storedStatements", "readOnly"];
        assert_eq!(nearest("schedTasks", known), Some("scheduledTasks"));
        assert_eq!(nearest("READONLY", known), Some("readOnly"));
        assert_eq!(nearest("unknown", known), None);
        assert_eq!(nearest("x", []), None);
    }
}

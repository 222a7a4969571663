//! Finds the word that was probably meant by a misspelt one.

/// Returns the candidate with the smallest edit distance from `word`, ignoring case. `None` if the distance is more
/// than half the length of `word`, or if there are no candidates.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = word.to_lowercase();
    let (distance, best) = candidates
        .into_iter()
        .map(|candidate| (strsim::levenshtein(&folded, &candidate.to_lowercase()), candidate))
        .min_by_key(|(distance, _)| *distance)?;
    // A distance of half the word is accepted: `schedTasks` is at a distance of five letters from `scheduledTasks`.
    (distance * 2 <= word.chars().count().max(2)).then_some(best)
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

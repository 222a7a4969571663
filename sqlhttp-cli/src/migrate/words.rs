//! Quotes the words of a command line for a POSIX shell.

/// Returns words as a line that a POSIX shell splits into the same words.
pub(crate) fn line(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| quote(word)).collect();
    quoted.join(" ")
}

/// Returns a word in single quotes, or unchanged if it contains no special characters.
pub(crate) fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@%_+=:,./-".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_characters_are_quoted() {
        let cases = [
            ("a.db:/etc/a.yaml", "a.db:/etc/a.yaml"),
            ("-port=1", "-port=1"),
            ("", "''"),
            ("my file.db", "'my file.db'"),
            ("~/x.db", "'~/x.db'"),
            ("a$b`c\"d;*", "'a$b`c\"d;*'"),
            ("it's", r"'it'\''s'"),
            ("数据.db", "'数据.db'"),
        ];
        for (word, quoted) in cases {
            assert_eq!(quote(word), quoted, "{word}");
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_shell_reads_the_words_back() {
        let words = ["a b", "it's", "", "$HOME", "\\", "'", "\n", "!x", "#y"].map(str::to_owned);
        let script = format!("printf '%s\\0' {}", line(&words));
        let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(printed.split_terminator('\0').collect::<Vec<_>>(), words);
    }
}

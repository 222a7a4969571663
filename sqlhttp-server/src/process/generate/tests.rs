use std::process::Command;

use super::*;

/// Asserts that the generated texts of a program contain each of its flags, and that bash accepts its script.
/// `generated` returns the text of a kind.
pub(crate) fn assert_complete(flags: &[&str], generated: impl Fn(&str) -> String) {
    let FlagKind::Choice(kinds) = KINDS else { panic!("{KINDS:?}") };
    for kind in kinds {
        let text = generated(kind);
        let missing: Vec<_> = flags.iter().filter(|flag| !names(kind, &text, flag)).collect();
        assert!(missing.is_empty(), "{kind}: {missing:?} in {text}");
        assert!(!text.ends_with('\n'), "{kind}");
    }
    assert!(flags.contains(&FLAG) && !flags.contains(&"help"));
    assert_man_page(&generated("man"));
    bash(&["-n"], &generated("bash"));
}

/// Returns whether the text contains the flag as the kind of text spells it.
fn names(kind: &str, text: &str, flag: &str) -> bool {
    match kind {
        "man" => text.contains(&format!("\\fB\\-\\-{}\\fR", flag.replace('-', "\\-"))),
        "bash" => {
            let options = text.lines().find_map(|line| line.trim().strip_prefix("opts=\"-h "));
            options.is_some_and(|it| it.trim_end_matches('"').split(' ').any(|it| it == format!("--{flag}")))
        }
        "zsh" => {
            [format!("'--{flag}["), format!("'--{flag}=["), format!("'*--{flag}=[")].iter().any(|it| text.contains(it))
        }
        "fish" => text.contains(&format!(" -l {flag} -d ")),
        _ => panic!("{kind}"),
    }
}

fn assert_man_page(page: &str) {
    // clap_mangen defines the apostrophe in the first two lines.
    assert!(page.lines().nth(2).is_some_and(|line| line.starts_with(".TH sqlhttp-")), "{page}");
    for heading in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "VERSION"] {
        assert!(page.lines().any(|line| line == format!(".SH {heading}")), "no {heading} in {page}");
    }
}

/// Runs a script with bash, and returns its standard output. With the flag `-n`, bash checks only the syntax.
fn bash(flags: &[&str], script: &str) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), script).unwrap();
    let ended = Command::new("bash").args(flags).arg(file.path()).output().expect("bash is installed");
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?} {script}");
    String::from_utf8(ended.stdout).unwrap().trim_end().to_owned()
}

/// Returns the words that the script of the program offers after `previous` for a word that begins with `word`.
fn completed(previous: &str, word: &str) -> String {
    let script = generate("bash", program()).unwrap();
    let call = format!("_sqlhttp__test sqlhttp-test '{word}' '{previous}'");
    let set = format!("COMP_WORDS=(sqlhttp-test '{previous}' '{word}'); COMP_CWORD=2");
    // compopt fails outside a completion.
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("example.pem"), "").unwrap();
    let enter = format!("cd '{}'", directory.path().display());
    bash(&[], &format!("{script}\ncompopt() {{ :; }}\n{enter}\n{set}\n{call}\necho \"${{COMPREPLY[*]}}\""))
}

/// Asserts that the script of zsh offers these candidates for a flag, such as `file:_files`.
pub(crate) fn assert_offers(script: &str, flag: &str, candidates: &str) {
    let names = |line: &&str| line.trim_start_matches(['\'', '*']).starts_with(&format!("--{flag}=["));
    let line = script.lines().find(names).unwrap_or_else(|| panic!("no {flag} in {script}"));
    assert!(line.ends_with(&format!("]:{candidates}' \\")), "{line}");
}

fn entry(name: &'static str, kind: FlagKind, default: &'static str, candidates: Candidates) -> FlagEntry {
    let help = format!("Sets \"{name}\": it's [one] of $PATH");
    FlagEntry { name, kind, default, help, candidates, variable: None, heading: None }
}

fn program() -> Program {
    let formats = FlagKind::Choice(&["text", "json"]);
    let mut flags = vec![
        entry("cert", FlagKind::Text, "", Candidates::Files),
        entry("db", FlagKind::List, "", Candidates::Files),
        entry("fk", FlagKind::Bool, "false", Candidates::None),
        entry("step-down", FlagKind::Bool, "true", Candidates::None),
        entry("log-format", formats, "text", Candidates::None),
        entry("log-level", FlagKind::Text, "WARN", Candidates::Words(&["WARN", "INFO"])),
        entry("max-body", FlagKind::Size, "64M", Candidates::None),
        entry(FLAG, KINDS, "", Candidates::None),
    ];
    flags[6].variable = Some("SQLHTTP_MAX_BODY".to_owned());
    flags[6].heading = Some("Further flags");
    let data_directory = Some("The data");
    Program { name: "sqlhttp-test", about: "tests", notes: "Flags come\nfirst.", flags, data_directory }
}

#[test]
fn each_text_contains_all_flags() {
    let flags: Vec<&str> = program().flags.iter().map(|flag| flag.name).collect();
    assert_complete(&flags, |kind| generate(kind, program()).unwrap());
}

#[test]
fn an_unknown_kind_has_no_text() {
    for kind in ["", "powershell", "Bash", "man "] {
        assert_eq!(generate(kind, program()), None, "{kind}");
    }
}

#[test]
fn the_man_page_describes_values_defaults_and_variables() {
    let page = generate("man", program()).unwrap().replace("\\-", "-");
    for text in [
        ".SH NAME\nsqlhttp-test - tests\n",
        "\\fBsqlhttp-test\\fR [flags] <data directory>\n",
        "sqlhttp-test tests.\n.PP\nFlags come\nfirst.\n",
        "\\fB--cert\\fR \\fI<file>\\fR\n",
        "\\fB--log-level\\fR \\fI<word>\\fR [default: WARN]\n",
        ".SH \"FURTHER FLAGS\"\n",
        "of $PATH. Environment variable: SQLHTTP_MAX_BODY\n",
        "of $PATH (default true)\n",
        "<\\fIdata directory\\fR>\nThe data\n",
    ] {
        assert!(page.contains(text), "no {text:?} in {page}");
    }
}

#[test]
fn the_script_of_bash_completes_flags_and_values() {
    assert_eq!(completed("", "--log"), "--log-format --log-level");
    assert_eq!(completed("--log-format", ""), "text json");
    assert_eq!(completed("--log-level", "W"), "WARN");
    assert_eq!(completed("--generate", ""), "man bash zsh fish");
    assert_eq!(completed("--cert", "ex"), "example.pem");
    assert_eq!(completed("--max-body", "ex"), "ex", "a size is no file");
}

#[test]
fn the_scripts_of_zsh_and_fish_offer_files_and_words() {
    let zsh = generate("zsh", program()).unwrap();
    assert!(zsh.starts_with("#compdef sqlhttp-test\n"), "{zsh}");
    for (flag, candidates) in [("cert", "file:_files"), ("db", "file:_files"), ("log-format", "word:(text json)")] {
        assert_offers(&zsh, flag, candidates);
    }
    assert!(zsh.contains("':data directory -- The data:_files -/'"), "{zsh}");
    let fish = generate("fish", program()).unwrap();
    for (flag, end) in
        [("cert", " -r -F"), ("log-format", " -r -f -a \"text\\t''\njson\\t''\""), ("max-body", " -r -f")]
    {
        let begin = format!("complete -c sqlhttp-test -l {flag} -d '");
        let (_, line) = fish.split_once(&begin).unwrap_or_else(|| panic!("no {begin:?} in {fish}"));
        assert!(line.starts_with(&format!("Sets \"{flag}\": it\\'s [one] of $PATH'{end}\n")), "{line}");
    }
}

use super::*;
use crate::process::generate::tests::{assert_complete, assert_offers};

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn settings(line: &str) -> Settings {
    match parse(&words(line)) {
        Ok(CommandLine::Run { settings, .. }) => settings,
        other => panic!("{line}: {other:?}"),
    }
}

fn error(line: &str) -> String {
    parse(&words(line)).unwrap_err().message
}

#[test]
fn every_spelling_of_go_is_accepted() {
    for line in ["-port 1", "--port 1", "-port=1", "--port=1", "--port=0x1", "-port 2 -port 1"] {
        assert_eq!(settings(line).int("port"), 1, "{line}");
    }
    assert!(settings("--version").bool("version"));
    assert!(settings("-version=T").bool("version"));
    assert!(!settings("--version=false").bool("version"));
    assert_eq!(settings("-db a -db=b --db c").list("db"), ["a", "b", "c"]);
    assert_eq!(settings("-serve-dir=").text("serve-dir"), "");
    assert_eq!(settings("-db=a=b").list("db"), ["a=b"]);
}

#[test]
fn a_boolean_takes_no_following_word() {
    let parsed = parse(&words("--version false --port 1")).unwrap();
    let CommandLine::Run { settings, ignored } = parsed else { panic!() };
    assert!(settings.bool("version"));
    assert_eq!(ignored, ["false", "--port", "1"]);
}

#[test]
fn parsing_stops_at_the_first_word_that_is_not_a_flag() {
    for (line, rest) in [("foo --db x.db", 3), ("-- --db x.db", 2), ("- --db x.db", 3)] {
        let CommandLine::Run { settings, ignored } = parse(&words(line)).unwrap() else { panic!() };
        assert!(settings.is_empty(), "{line}");
        assert_eq!(ignored.len(), rest, "{line}");
    }
    assert_eq!(
        parse(&["".to_owned()]).unwrap(),
        CommandLine::Run { settings: Settings::default(), ignored: vec!["".into()] }
    );
}

#[test]
fn values_may_look_like_flags() {
    assert_eq!(settings("-db -port").list("db"), ["-port"]);
}

#[test]
fn errors_are_those_of_go() {
    assert_eq!(error("---x"), "bad flag syntax: ---x");
    assert_eq!(error("--=x"), "bad flag syntax: --=x");
    assert_eq!(error("-=x"), "bad flag syntax: -=x");
    assert_eq!(error("--bogus"), "flag provided but not defined: -bogus");
    assert_eq!(error("--bogus=1"), "flag provided but not defined: -bogus");
    assert_eq!(error("-port abc"), "invalid value \"abc\" for flag -port: parse error");
    assert_eq!(
        error("-port 99999999999999999999"),
        "invalid value \"99999999999999999999\" for flag -port: value out of range"
    );
    assert_eq!(error("-port"), "flag needs an argument: -port");
    assert_eq!(error("-version=maybe"), "invalid boolean value \"maybe\" for -version: parse error");
    assert_eq!(error("-busy-timeout 5"), "invalid value \"5\" for flag -busy-timeout: parse error");
    assert_eq!(error("-max-rows -1"), "invalid value \"-1\" for flag -max-rows: must not be negative");
    assert_eq!(error("-log-format xml"), "invalid value \"xml\" for flag -log-format: must be one of text, json");
    let kinds = "invalid value \"elvish\" for flag -generate: must be one of man, bash, zsh, fish";
    assert_eq!(error("-generate elvish"), kinds);
}

#[test]
fn every_spelling_of_help_is_accepted() {
    for line in ["-h", "--h", "-help", "--help", "--help=x", "--port 1 -h --bogus"] {
        assert_eq!(parse(&words(line)).unwrap(), CommandLine::Help, "{line}");
    }
}

#[test]
fn an_error_before_help_wins() {
    assert!(parse(&words("--bogus --help")).is_err());
}

#[test]
fn unset_flags_have_their_defaults() {
    let none = Settings::default();
    assert_eq!(none.text("bind-host"), "0.0.0.0");
    assert_eq!(none.int("port"), 12321);
    assert_eq!(none.count("max-body"), 64 << 20);
    assert_eq!(none.count("max-header"), 64 << 10);
    assert_eq!(none.count("max-connections"), 10_000);
    assert_eq!(none.count("max-statements"), 100_000);
    assert_eq!(none.duration("busy-timeout"), Duration::from_secs(5));
    assert_eq!(none.duration("body-timeout"), Duration::from_secs(300));
    assert_eq!(none.duration("query-timeout"), Duration::ZERO);
    assert_eq!(none.text_opt("metrics-addr"), None);
    assert!(none.list("db").is_empty());
}

#[test]
fn every_default_is_a_value_of_its_kind() {
    for flag in TABLE.iter().filter(|flag| !flag.default.is_empty()) {
        assert!(parse_value(flag.kind, flag.default).is_ok(), "{}", flag.name);
    }
}

#[test]
fn the_environment_sets_what_the_command_line_does_not() {
    let variable = |name: &str| match name {
        "SQLHTTP_DB" => Some("a.db, b.db:c.yaml".to_owned()),
        "SQLHTTP_PORT" => Some("1".to_owned()),
        "SQLHTTP_BIND_HOST" => Some("::1".to_owned()),
        "SQLHTTP_ALLOW_ATTACH" => Some("true".to_owned()),
        "SQLHTTP_SERVE_DIR" => Some(String::new()),
        "SQLHTTP_VERSION" => Some("true".to_owned()),
        "SQLHTTP_GENERATE" => Some("bash".to_owned()),
        _ => None,
    };
    let environment = Settings::from_env(variable).unwrap();
    let both = settings("-port 2").or(environment.clone());
    assert_eq!(both.int("port"), 2);
    assert_eq!(both.text("bind-host"), "::1");
    assert_eq!(both.list("db"), ["a.db", " b.db:c.yaml"]);
    assert!(both.bool("allow-attach"));
    assert!(!both.bool("version"), "SQLHTTP_VERSION is ignored: it may contain a version number");
    assert_eq!(both.text_opt("generate"), None, "SQLHTTP_GENERATE is ignored");
    assert_eq!(settings("-db x").or(environment).list("db"), ["x"]);
}

#[test]
fn a_wrong_variable_is_named() {
    let variable = |name: &str| (name == "SQLHTTP_PORT").then(|| "abc".to_owned());
    assert_eq!(
        Settings::from_env(variable).unwrap_err().message,
        "invalid value \"abc\" for SQLHTTP_PORT: parse error"
    );
}

#[test]
fn a_file_sets_all_flags_but_databases() {
    let mut settings = Settings::default();
    settings.set_named("max-body", "1M").unwrap();
    assert_eq!(settings.count("max-body"), 1 << 20);
    for name in ["db", "mem-db", "config", "version", "generate", "bogus"] {
        assert_eq!(settings.set_named(name, "x").unwrap_err(), format!("unknown setting '{name}'"));
    }
    assert_eq!(settings.set_named("port", "x").unwrap_err(), "invalid value \"x\" for port: parse error");
}

#[test]
fn other_names_of_a_flag_work_everywhere() {
    assert_eq!(settings("-max-items 7").count("max-statements"), 7);
    assert_eq!(settings("-max-items 7 -max-statements 8").count("max-statements"), 8);
    assert_eq!(error("-max-items x"), "invalid value \"x\" for flag -max-items: parse error");
    let old = |name: &str| (name == "SQLHTTP_MAX_ITEMS").then(|| "7".to_owned());
    assert_eq!(Settings::from_env(old).unwrap().count("max-statements"), 7);
    let both = |name: &str| name.starts_with("SQLHTTP_MAX_").then(|| name.len().to_string());
    let expected = "SQLHTTP_MAX_STATEMENTS".len() as u64;
    assert_eq!(Settings::from_env(both).unwrap().count("max-statements"), expected, "the name overrides the alias");
    let mut file = Settings::default();
    file.set_named("max-items", "7").unwrap();
    assert_eq!(file.count("max-statements"), 7);
    assert!(usage().contains("Statements in one request; also -max-items (default 100000)"), "{}", usage());
}

#[test]
fn usage_has_the_form_of_go() {
    let expected = "Usage of sqlhttp-standalone:
  -bind-host string
    \tThe host to bind (default \"0.0.0.0\")
  -db value
    \tRepeatable; paths of file-based databases
  -mem-db value
    \tRepeatable; config for memory-based databases (format: ID[:configFilePath])
  -port int
    \tPort for the web service (default 12321)
  -serve-dir string
    \tA directory to serve with builtin HTTP server
  -version
    \tDisplay the version number
";
    let usage = usage();
    assert!(usage.starts_with(expected), "{usage}");
    assert!(usage.contains("  -log-format text|json\n    \tHow log lines look (default text)\n"), "{usage}");
}

#[test]
fn the_table_is_sorted_and_complete() {
    let names = |original: bool| TABLE.iter().filter(move |flag| flag.original == original).map(|flag| flag.name);
    assert!(names(true).is_sorted() && names(false).is_sorted());
    assert!(TABLE.iter().all(|flag| !flag.help.is_empty()));
}

#[test]
fn every_flag_is_in_the_generated_texts() {
    let names: Vec<&str> = TABLE.iter().map(|flag| flag.name).collect();
    assert_complete(&names, |kind| generated(&settings(&format!("--generate {kind}"))).unwrap());
    assert_eq!(generated(&Settings::default()), None);
}

#[test]
fn a_generated_script_offers_the_values_in_the_table() {
    let script = generated(&settings("-generate zsh")).unwrap();
    for (flag, candidates) in [
        ("config", "file:_files"),
        ("serve-dir", "directory:_files -/"),
        ("log-level", "word:(error warn info debug trace)"),
        ("port", "number:"),
    ] {
        assert_offers(&script, flag, candidates);
    }
}

#[test]
fn the_generated_man_page_names_variables() {
    let page = generated(&settings("-generate man")).unwrap();
    for flag in TABLE {
        let named = page.lines().any(|line| line.ends_with(&format!(" Environment variable: {}", flag.env_name())));
        assert_eq!(named, !["version", "generate"].contains(&flag.name), "{}", flag.name);
    }
}

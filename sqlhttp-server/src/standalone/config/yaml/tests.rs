use super::*;

fn entries(source: &str) -> Vec<(String, YamlNode)> {
    match parse(source).unwrap().value {
        YamlValue::Map(entries) => entries,
        other => panic!("{other:?}"),
    }
}

fn value(scalar: &str) -> YamlValue {
    entries(&format!("é: 1\nkey: {scalar}\n"))[1].1.value.clone()
}

#[test]
fn scalars_are_resolved_and_keep_their_text() {
    assert_eq!(value("yes"), YamlValue::Bool(true, "yes".into()));
    assert_eq!(value("Off # comment"), YamlValue::Bool(false, "Off".into()));
    assert_eq!(value("0x10"), YamlValue::Int(16, "0x10".into()));
    assert_eq!(value("01234"), YamlValue::Float(1234.0, "01234".into()));
    assert_eq!(value("1.50"), YamlValue::Float(1.5, "1.50".into()));
    assert_eq!(value("\"1\""), YamlValue::Str("1".into()));
    assert_eq!(value("~"), YamlValue::Null);
    assert_eq!(value("abc"), YamlValue::Str("abc".into()));
    assert_eq!(
        value("123456789012345678901"),
        YamlValue::Float(123456789012345678901.0, "123456789012345678901".into())
    );
}

#[test]
fn flow_scalars_keep_their_text() {
    let list = value("[1234, yes, {a: 007}]");
    let YamlValue::Seq(items) = list else { panic!("{list:?}") };
    assert_eq!(items[0].value, YamlValue::Int(1234, "1234".into()));
    assert_eq!(items[1].value, YamlValue::Bool(true, "yes".into()));
    let YamlValue::Map(map) = &items[2].value else { panic!() };
    assert_eq!(map[0].1.value, YamlValue::Float(7.0, "007".into()));
}

#[test]
fn an_alias_has_the_text_of_its_anchor() {
    let found = entries("a: &x 0x12\nb: *x\n");
    assert_eq!(found[1].1, YamlNode { line: 2, value: YamlValue::Int(18, "0x12".into()) });
}

#[test]
fn empty_documents_are_null() {
    for source in ["", "# nothing\n", "---\n", "\u{feff}"] {
        assert_eq!(parse(source).unwrap().value, YamlValue::Null, "{source:?}");
    }
}

#[test]
fn only_the_first_document_counts() {
    assert_eq!(entries("a: 1\n---\nb: 2\n").len(), 1);
    assert_eq!(entries("a: 1\n---\n\tbad\n").len(), 1);
}

#[test]
fn the_last_of_equal_keys_wins() {
    let found = entries("a: 1\na: 2\n");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].1, YamlNode { line: 2, value: YamlValue::Int(2, "2".into()) });
}

#[test]
fn a_syntax_error_is_an_error() {
    for source in ["\tbad: 1\n", "auth:\n\tmode: x\n", "a: [1\n", "a: b: c\n"] {
        assert!(parse(source).unwrap_err().starts_with("yaml: "), "{source:?}");
    }
}

#[test]
fn exponentially_nested_aliases_are_an_error() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..12 {
        let list = vec![format!("*a{}", i - 1); 9].join(", ");
        let _ = writeln!(bomb, "a{i}: &a{i} [{list}]");
    }
    assert!(parse(&bomb).is_err());
}

#[test]
fn all_mismatches_are_reported_as_yaml_v2_does() {
    let node = parse("a: abc\nb: 1\nc: CREATE TABLE T(a)\nd: [x]\n").unwrap();
    let mut reader = YamlReader::default();
    let mut fields = reader.fields(&node, "", "main.db").unwrap();
    assert_eq!(fields.bool(&mut reader, "a"), None);
    assert_eq!(fields.bool(&mut reader, "b"), None);
    assert_eq!(fields.strings(&mut reader, "c"), None);
    assert_eq!(fields.string(&mut reader, "d"), None);
    fields.finish(&mut reader);
    let expected = "yaml: unmarshal errors:\n  line 1: cannot unmarshal !!str `abc` into bool\n  line 2: cannot \
                    unmarshal !!int `1` into bool\n  line 3: cannot unmarshal !!str `CREATE ...` into []string\n  \
                    line 4: cannot unmarshal !!seq into string\n  keys: a, b, c, d";
    assert_eq!(reader.finish().unwrap_err(), expected);
}

#[test]
fn unknown_keys_are_warned_about_at_every_level() {
    let node = parse("readonly: true\nauth:\n  mod: x\nzzz: 1\n").unwrap();
    let mut reader = YamlReader::default();
    let mut fields = reader.fields(&node, "", "main.db").unwrap();
    fields.bool(&mut reader, "readOnly");
    fields.map(&mut reader, "auth", |reader, fields| fields.string(reader, "mode"));
    fields.finish(&mut reader);
    let expected = [
        "unknown key 'auth.mod' is ignored, did you mean 'auth.mode'?",
        "unknown key 'readonly' is ignored, did you mean 'readOnly'?",
        "unknown key 'zzz' is ignored",
    ];
    assert_eq!(reader.finish().unwrap().0, expected);
}

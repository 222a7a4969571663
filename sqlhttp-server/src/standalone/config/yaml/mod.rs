//! Parses YAML documents into trees whose nodes have line numbers, and reads typed values from the nodes.
//!
//! The documents are parsed with `serde-saphyr`. Deserializing them directly with serde is not sufficient: ws4sqlite's
//! files are written for Go's yaml.v2, whose rules and error messages differ from those of serde:
//!
//! * any scalar is accepted as a string, whose value is the text as written (`1e3`, `yes`, `007`);
//! * an integer is not accepted as a boolean;
//! * if a mapping has the same key several times, the last one is used;
//! * only the first document of a file is read;
//! * all values of a wrong type are reported together, with their lines;
//! * an unknown key causes a warning and not an error.

use std::fmt::Write as _;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Spanned};
use sqlhttp_text::{literal, spelling};

use super::error::KeyLines;

/// A node of a YAML document.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct YamlNode {
    /// The line at which the node begins, counted from 1.
    pub(crate) line: u64,
    /// The value of the node.
    pub(crate) value: YamlValue,
}

/// The value of a YAML node. The `String` of a scalar is its text as written in the file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum YamlValue {
    Null,
    Bool(bool, String),
    Int(i64, String),
    Float(f64, String),
    Str(String),
    Seq(Vec<YamlNode>),
    Map(Vec<(String, YamlNode)>),
}

/// Parses the first YAML document in `source`. The result for an empty document is `Null`. The error is a message.
pub(crate) fn parse(source: &str) -> Result<YamlNode, String> {
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    if begins_with_tab(source) {
        return Err("yaml: found character that cannot start any token".to_owned());
    }
    let options = serde_saphyr::options! { duplicate_keys: DuplicateKeyPolicy::LastWins, with_snippet: false };
    let mut reader = source.as_bytes();
    let first = serde_saphyr::read_with_options::<_, Spanned<ParsedValue>>(&mut reader, options).next();
    match first {
        None => Ok(YamlNode { line: 1, value: YamlValue::Null }),
        Some(Ok(raw)) => Ok(SourceText::new(source).to_node(raw)),
        Some(Err(error)) => Err(format!("yaml: {}", error.render())),
    }
}

/// Returns whether the first line of a document is indented with a tab. YAML forbids that, but the parser accepts it.
fn begins_with_tab(source: &str) -> bool {
    let first = source.lines().find(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
    first.is_some_and(|line| line.starts_with('\t'))
}

/// The value of a YAML node as the deserializer returns it. It lacks the text as written of booleans and numbers.
enum ParsedValue {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    Seq(Vec<Spanned<ParsedValue>>),
    Map(Vec<(String, Spanned<ParsedValue>)>),
}

impl<'de> Deserialize<'de> for ParsedValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ParsedValueVisitor)
    }
}

struct ParsedValueVisitor;

impl<'de> Visitor<'de> for ParsedValueVisitor {
    type Value = ParsedValue;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any YAML value")
    }

    fn visit_unit<E>(self) -> Result<ParsedValue, E> {
        Ok(ParsedValue::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<ParsedValue, E> {
        Ok(ParsedValue::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<ParsedValue, E> {
        Ok(ParsedValue::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<ParsedValue, E> {
        // An integer that does not fit into `i64` becomes a float. It is then accepted as a string only, with its text
        // as written.
        Ok(i64::try_from(value).map_or(ParsedValue::Float(value as f64), ParsedValue::Int))
    }

    fn visit_i128<E>(self, value: i128) -> Result<ParsedValue, E> {
        Ok(ParsedValue::Float(value as f64))
    }

    fn visit_u128<E>(self, value: u128) -> Result<ParsedValue, E> {
        Ok(ParsedValue::Float(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<ParsedValue, E> {
        Ok(ParsedValue::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<ParsedValue, E> {
        Ok(ParsedValue::Str(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<ParsedValue, E> {
        Ok(ParsedValue::Str(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<ParsedValue, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(ParsedValue::Seq(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ParsedValue, A::Error> {
        let mut entries: Vec<(String, Spanned<ParsedValue>)> = Vec::new();
        while let Some((key, value)) = map.next_entry::<String, _>()? {
            entries.retain(|(earlier, _)| *earlier != key);
            entries.push((key, value));
        }
        Ok(ParsedValue::Map(entries))
    }
}

/// The source text as characters, from which the text as written of booleans and numbers is taken.
struct SourceText {
    characters: Vec<char>,
}

impl SourceText {
    fn new(source: &str) -> Self {
        SourceText { characters: source.chars().collect() }
    }

    fn to_node(&self, raw: Spanned<ParsedValue>) -> YamlNode {
        let line = raw.referenced.line();
        let text = |fallback: String| self.text(raw.defined.span()).unwrap_or(fallback);
        let value = match raw.value {
            ParsedValue::Null => YamlValue::Null,
            ParsedValue::Bool(b) => YamlValue::Bool(b, text(b.to_string())),
            ParsedValue::Int(i) => YamlValue::Int(i, text(i.to_string())),
            ParsedValue::Float(f) => YamlValue::Float(f, text(f.to_string())),
            ParsedValue::Str(s) => YamlValue::Str(s),
            ParsedValue::Seq(items) => YamlValue::Seq(items.into_iter().map(|item| self.to_node(item)).collect()),
            ParsedValue::Map(entries) => {
                YamlValue::Map(entries.into_iter().map(|(key, item)| (key, self.to_node(item))).collect())
            }
        };
        YamlNode { line, value }
    }

    fn text(&self, span: serde_saphyr::Span) -> Option<String> {
        let (start, len) = (usize::try_from(span.offset()).ok()?, usize::try_from(span.len()).ok()?);
        let text: String = self.characters.get(start..start.checked_add(len)?)?.iter().collect();
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }
}

/// Reads typed values from YAML nodes. Collects errors about values of a wrong type, warnings about unknown keys, and
/// the lines of keys.
#[derive(Debug, Default)]
pub(crate) struct YamlReader {
    errors: Vec<String>,
    warnings: Vec<String>,
    lines: KeyLines,
    /// The key whose value is being read.
    key: String,
    /// The keys whose values have a wrong type.
    mismatched_keys: Vec<String>,
}

impl YamlReader {
    /// Ends reading. Returns the warnings about unknown keys and the lines of the known keys. If any value has a wrong
    /// type, returns an error with one message about all of them.
    pub(crate) fn finish(self) -> Result<(Vec<String>, KeyLines), String> {
        if self.errors.is_empty() {
            return Ok((self.warnings, self.lines));
        }
        let mut message = "yaml: unmarshal errors:".to_owned();
        for error in &self.errors {
            let _ = write!(message, "\n  {error}");
        }
        if !self.mismatched_keys.is_empty() {
            let _ = write!(message, "\n  keys: {}", self.mismatched_keys.join(", "));
        }
        Err(message)
    }

    /// Begins to read a mapping. Returns `None` for null. A value that is not a mapping is recorded as an error, and
    /// the result is `None` too. `path` is the key of the mapping for warnings (empty for the whole document), and
    /// `go_type` its Go type for errors.
    pub(crate) fn fields<'n>(&mut self, node: &'n YamlNode, path: &str, go_type: &str) -> Option<Fields<'n>> {
        match &node.value {
            YamlValue::Null => None,
            YamlValue::Map(entries) => {
                Some(Fields { entries, path: path.to_owned(), known: Vec::new(), taken: vec![false; entries.len()] })
            }
            _ => self.mismatch(node, go_type),
        }
    }

    /// Reads a string. Any scalar is accepted, with its text as written. Returns `None` for null. Any other value is
    /// recorded as an error, and the result is `None` too.
    pub(crate) fn string(&mut self, node: &YamlNode) -> Option<String> {
        match &node.value {
            YamlValue::Null => None,
            YamlValue::Str(text) | YamlValue::Bool(_, text) | YamlValue::Int(_, text) | YamlValue::Float(_, text) => {
                Some(text.clone())
            }
            YamlValue::Seq(_) | YamlValue::Map(_) => self.mismatch(node, "string"),
        }
    }

    /// Reads a boolean. Returns `None` for null. Any other value is recorded as an error, and the result is `None`
    /// too.
    pub(crate) fn bool(&mut self, node: &YamlNode) -> Option<bool> {
        match &node.value {
            YamlValue::Null => None,
            YamlValue::Bool(value, _) => Some(*value),
            _ => self.mismatch(node, "bool"),
        }
    }

    /// Reads an integer. A float without a fraction is accepted, and so are Go's integers with a leading zero. Returns
    /// `None` for null. Any other value is recorded as an error, and the result is `None` too.
    pub(crate) fn int(&mut self, node: &YamlNode) -> Option<i64> {
        match &node.value {
            YamlValue::Null => None,
            YamlValue::Int(value, _) => Some(*value),
            YamlValue::Float(_, text) if literal::parse_int(text).is_ok() => literal::parse_int(text).ok(),
            YamlValue::Float(value, _) if value.fract() == 0.0 && value.abs() < 9e15 => Some(*value as i64),
            _ => self.mismatch(node, "int"),
        }
    }

    /// Reads a list. Returns `None` for null. Any other value is recorded as an error, and the result is `None` too.
    pub(crate) fn list<'n>(&mut self, node: &'n YamlNode, go_type: &str) -> Option<&'n [YamlNode]> {
        match &node.value {
            YamlValue::Null => None,
            YamlValue::Seq(items) => Some(items),
            _ => self.mismatch(node, go_type),
        }
    }

    /// Reads a list of strings. Returns `None` for null. A value that is not a list is recorded as an error, and the
    /// result is `None` too.
    pub(crate) fn strings(&mut self, node: &YamlNode) -> Option<Vec<String>> {
        let items = self.list(node, "[]string")?;
        Some(items.iter().map(|item| self.string(item).unwrap_or_default()).collect())
    }

    fn mismatch<T>(&mut self, node: &YamlNode, go_type: &str) -> Option<T> {
        self.errors.push(format!(
            "line {}: cannot unmarshal {} into {go_type}",
            node.line,
            describe_as_yaml_v2(&node.value)
        ));
        if !self.key.is_empty() && self.mismatched_keys.last() != Some(&self.key) {
            self.mismatched_keys.push(self.key.clone());
        }
        None
    }
}

/// Describes a value as yaml.v2 does in its errors: the tag, and the text of a scalar. If the text has more than ten
/// characters, only the first seven are included.
fn describe_as_yaml_v2(value: &YamlValue) -> String {
    let (tag, text) = match value {
        YamlValue::Null => return "!!null".to_owned(),
        YamlValue::Seq(_) => return "!!seq".to_owned(),
        YamlValue::Map(_) => return "!!map".to_owned(),
        YamlValue::Bool(_, text) => ("!!bool", text),
        YamlValue::Int(_, text) => ("!!int", text),
        YamlValue::Float(_, text) => ("!!float", text),
        YamlValue::Str(text) => ("!!str", text),
    };
    if text.chars().count() > 10 {
        format!("{tag} `{}...`", text.chars().take(7).collect::<String>())
    } else {
        format!("{tag} `{text}`")
    }
}

/// The entries of a mapping, which are read by key. [`Fields::finish`] warns about keys that were not read.
#[derive(Debug)]
pub(crate) struct Fields<'n> {
    entries: &'n [(String, YamlNode)],
    path: String,
    known: Vec<&'static str>,
    taken: Vec<bool>,
}

impl<'n> Fields<'n> {
    /// Returns the node of a key, and marks the key as read; `None` if the mapping does not have the key.
    fn take(&mut self, reader: &mut YamlReader, key: &'static str) -> Option<&'n YamlNode> {
        self.known.push(key);
        let index = self.entries.iter().position(|(name, _)| name == key)?;
        self.taken[index] = true;
        let node = &self.entries[index].1;
        reader.key = self.path_of(key);
        reader.lines.insert(&reader.key, node.line);
        Some(node)
    }

    /// Reads the value of a key as a string; see [`YamlReader::string`].
    pub(crate) fn string(&mut self, reader: &mut YamlReader, key: &'static str) -> Option<String> {
        self.take(reader, key).and_then(|node| reader.string(node))
    }

    /// Reads the value of a key as a boolean; see [`YamlReader::bool`].
    pub(crate) fn bool(&mut self, reader: &mut YamlReader, key: &'static str) -> Option<bool> {
        self.take(reader, key).and_then(|node| reader.bool(node))
    }

    /// Reads the value of a key as an integer; see [`YamlReader::int`].
    pub(crate) fn int(&mut self, reader: &mut YamlReader, key: &'static str) -> Option<i64> {
        self.take(reader, key).and_then(|node| reader.int(node))
    }

    /// Reads the value of a key as a list of strings; see [`YamlReader::strings`].
    pub(crate) fn strings(&mut self, reader: &mut YamlReader, key: &'static str) -> Option<Vec<String>> {
        self.take(reader, key).and_then(|node| reader.strings(node))
    }

    /// Reads the value of a key as a mapping, with the function `read`. Returns `None` if there is no mapping.
    pub(crate) fn map<T>(
        &mut self,
        reader: &mut YamlReader,
        key: &'static str,
        read: impl FnOnce(&mut YamlReader, &mut Fields<'n>) -> T,
    ) -> Option<T> {
        let node = self.take(reader, key)?;
        let mut fields = reader.fields(node, &self.path_of(key), "map")?;
        let value = read(reader, &mut fields);
        fields.finish(reader);
        Some(value)
    }

    /// Reads the value of a key as a list of mappings, each with the function `read`. Returns `None` if there is no
    /// list.
    pub(crate) fn maps<T: Default>(
        &mut self,
        reader: &mut YamlReader,
        key: &'static str,
        read: impl Fn(&mut YamlReader, &mut Fields<'n>) -> T,
    ) -> Option<Vec<T>> {
        let items = self.take(reader, key).and_then(|node| reader.list(node, "[]map"))?;
        let item = |(index, node): (usize, &'n YamlNode)| {
            let path = format!("{}[{index}]", self.path_of(key));
            reader.lines.insert(&path, node.line);
            reader.key.clone_from(&path);
            let Some(mut fields) = reader.fields(node, &path, "map") else {
                return T::default();
            };
            let value = read(reader, &mut fields);
            fields.finish(reader);
            value
        };
        Some(items.iter().enumerate().map(item).collect())
    }

    /// Returns all entries and marks their keys as read. For mappings whose keys the caller checks.
    pub(crate) fn all_entries(&mut self) -> impl Iterator<Item = (&'n str, &'n YamlNode)> + use<'n> {
        self.taken.fill(true);
        self.entries.iter().map(|(key, node)| (key.as_str(), node))
    }

    /// Warns about the keys of the mapping that were not read.
    pub(crate) fn finish(self, reader: &mut YamlReader) {
        for ((key, _), _) in self.entries.iter().zip(&self.taken).filter(|(_, taken)| !**taken) {
            let hint = spelling::nearest(key, self.known.iter().copied());
            let hint = hint.map_or(String::new(), |known| format!(", did you mean '{}'?", self.path_of(known)));
            reader.warnings.push(format!("unknown key '{}' is ignored{hint}", self.path_of(key)));
        }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

#[cfg(test)]
mod tests;

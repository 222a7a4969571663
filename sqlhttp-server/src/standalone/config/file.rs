//! The file that the flag `-config` names: several databases and the server's settings in one YAML document.
//!
//! ```yaml
//! server:                      # optional: flags by their names, without dashes; the command line and the
//!   port: 8080                 # environment override these values
//!   max-body: 16M
//!   allow-attach: yes
//! databases:
//!   - path: data/shop.db       # a file database; its id is the file's name without extension: shop
//!     readOnly: true           # every key of a companion file may follow
//!   - id: users                # an id overrides the file's name
//!     path: /var/lib/u.db
//!     auth:
//!       mode: HTTP
//!       byCredentials:
//!         - {user: u, password: p}
//!   - id: cache                # an in-memory database
//!     inMemory: true
//! ```
//!
//! Paths are relative to the working directory, as on the command line, and may begin with `~`. A database in this
//! file has no companion file. The databases of the command line (or the environment) are opened first, and then the
//! databases of this file in their order.

use sqlhttp_text::spelling;

use super::companion::{self, Companion};
use super::error::KeyLines;
use super::flags::{self, Settings};
use super::yaml::{self, Fields, YamlReader, YamlValue};

/// The content of the `-config` file.
#[derive(Debug, Default)]
pub(crate) struct ConfigFile {
    pub(crate) settings: Settings,
    pub(crate) databases: Vec<DatabaseEntry>,
    pub(crate) lines: KeyLines,
    /// Warnings about unknown keys in the file.
    pub(crate) warnings: Vec<String>,
}

/// An entry of the list `databases`.
#[derive(Debug, Default)]
pub(crate) struct DatabaseEntry {
    pub(crate) id: String,
    pub(crate) path: String,
    pub(crate) in_memory: bool,
    pub(crate) companion: Companion,
}

/// Parses the content of the `-config` file. The error is a message.
pub(crate) fn parse(source: &str) -> Result<ConfigFile, String> {
    let document = yaml::parse(source)?;
    let mut reader = YamlReader::default();
    let mut file = ConfigFile::default();
    let mut warnings = Vec::new();
    if let Some(mut fields) = reader.fields(&document, "", "map") {
        let settings = fields.map(&mut reader, "server", |reader, fields| read_settings(reader, fields, &mut warnings));
        file.settings = settings.transpose()?.unwrap_or_default();
        file.databases = fields.maps(&mut reader, "databases", read_database).unwrap_or_default();
        fields.finish(&mut reader);
    }
    let (unknown, lines) = reader.finish()?;
    warnings.extend(unknown);
    file.databases.iter().enumerate().try_for_each(|(index, entry)| entry.check(index))?;
    Ok(ConfigFile { lines, warnings, ..file })
}

fn read_settings(
    reader: &mut YamlReader,
    fields: &mut Fields<'_>,
    warnings: &mut Vec<String>,
) -> Result<Settings, String> {
    let mut settings = Settings::default();
    for (name, node) in fields.all_entries() {
        if !flags::names_in_file().any(|known| known == name) {
            let hint = spelling::nearest(name, flags::names_in_file());
            let hint = hint.map_or(String::new(), |known| format!(", did you mean 'server.{known}'?"));
            warnings.push(format!("unknown key 'server.{name}' is ignored{hint}"));
            continue;
        }
        let value = match &node.value {
            // The value is converted to Go's spelling, because YAML has more spellings of booleans than Go.
            YamlValue::Bool(value, _) => Some(value.to_string()),
            _ => reader.string(node),
        };
        if let Some(value) = value {
            settings.set_named(name, &value).map_err(|why| format!("line {}: server: {why}", node.line))?;
        }
    }
    Ok(settings)
}

fn read_database(reader: &mut YamlReader, fields: &mut Fields<'_>) -> DatabaseEntry {
    DatabaseEntry {
        id: fields.string(reader, "id").unwrap_or_default(),
        path: fields.string(reader, "path").unwrap_or_default(),
        in_memory: fields.bool(reader, "inMemory").unwrap_or(false),
        companion: companion::read(reader, fields),
    }
}

impl DatabaseEntry {
    fn check(&self, index: usize) -> Result<(), String> {
        match (self.path.is_empty(), self.in_memory) {
            (true, false) | (false, true) => {
                Err(format!("databases[{index}]: one and only one of 'path' and 'inMemory: true' must be specified"))
            }
            (true, true) if self.id.is_empty() => {
                Err(format!("databases[{index}]: an in-memory database needs an 'id'"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_and_settings_are_read() {
        let file = parse(
            "server:\n  port: 0x10\n  max-body: 16M\n  allow-attach: yes\n  busy-timeout:\ndatabases:\n  - path: \
             a.db\n    readOnly: true\n  - {id: m, inMemory: true, storedStatements: [{id: A, sql: SELECT 1}]}\n",
        )
        .unwrap();
        assert_eq!(file.warnings, Vec::<String>::new());
        assert_eq!((file.settings.int("port"), file.settings.count("max-body")), (16, 16 << 20));
        assert!(file.settings.bool("allow-attach"));
        assert_eq!(file.databases[0].path, "a.db");
        assert!(file.databases[0].companion.read_only);
        assert_eq!((file.databases[1].id.as_str(), file.databases[1].in_memory), ("m", true));
        assert_eq!(file.databases[1].companion.stored_statements.len(), 1);
    }

    #[test]
    fn unknown_keys_are_warned_about() {
        let file = parse("server: {maxbody: 1}\ndatabases: [{path: a, readonly: true}]\ndbs: 1\n").unwrap();
        let expected = [
            "unknown key 'server.maxbody' is ignored, did you mean 'server.max-body'?",
            "unknown key 'databases[0].readonly' is ignored, did you mean 'databases[0].readOnly'?",
            "unknown key 'dbs' is ignored",
        ];
        assert_eq!(file.warnings, expected);
    }

    #[test]
    fn invalid_files_are_refused() {
        let exclusive = "databases[0]: one and only one of 'path' and 'inMemory: true' must be specified";
        let cases = [
            ("databases: [{id: a}]", exclusive),
            ("databases: [{path: a, inMemory: true}]", exclusive),
            ("databases: [{inMemory: true}]", "databases[0]: an in-memory database needs an 'id'"),
            ("server:\n  port: x", "line 2: server: invalid value \"x\" for port: parse error"),
            ("[]", "yaml: unmarshal errors:\n  line 1: cannot unmarshal !!seq into map"),
        ];
        for (source, message) in cases {
            assert_eq!(parse(source).unwrap_err(), message, "{source}");
        }
    }

    #[test]
    fn an_empty_file_has_no_settings_and_no_databases() {
        let file = parse("").unwrap();
        assert!(file.databases.is_empty() && file.settings.is_empty());
    }
}

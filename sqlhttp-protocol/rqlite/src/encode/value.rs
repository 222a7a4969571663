//! Writes single SQLite values as JSON. The form of a value depends on the declared type of its column.

use sqlhttp_core::ValueRef;
use sqlhttp_text::number;

use super::date;
use crate::json;

/// How the values of a column are written. This depends on the declared type of the column. For an expression, which
/// has no declared type, it depends on the type of its first value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// BLOBs that are valid UTF-8 are written as strings.
    Texty,
    /// Integers are written as `true` or `false`.
    Boolean,
    /// Integers and TEXT values are written as times.
    Time,
    /// Each value is written according to its own type.
    Other,
}

impl Class {
    /// Returns the class for a column type in lower case. `type_name` is empty if the type is unknown.
    pub(super) fn of(type_name: &str) -> Class {
        const TEXTY: &[&str] = &["varchar", "varying character", "nchar", "native character", "nvarchar", "clob"];
        match type_name {
            "" | "text" | "json" => Class::Texty,
            "boolean" => Class::Boolean,
            "date" | "datetime" | "timestamp" => Class::Time,
            name if TEXTY.iter().any(|texty| name.starts_with(texty)) => Class::Texty,
            _ => Class::Other,
        }
    }
}

/// Returns the type of a column without a declared type. `value` is the value of the column in the first row.
pub(super) fn type_of(value: ValueRef<'_>) -> &'static str {
    match value {
        ValueRef::Null => "",
        ValueRef::Integer(_) => "integer",
        ValueRef::Real(_) => "real",
        ValueRef::Text(_) | ValueRef::Blob(_) => "text",
    }
}

/// Writes an SQLite value as JSON.
pub(super) fn write(out: &mut Vec<u8>, value: ValueRef<'_>, class: Class, blob_array: bool) {
    match (value, class) {
        (ValueRef::Null, _) => out.extend_from_slice(b"null"),
        (ValueRef::Integer(value), Class::Boolean) => {
            out.extend_from_slice(if value > 0 { b"true" } else { b"false" });
        }
        (ValueRef::Integer(value), Class::Time) => date::write_integer(out, value),
        (ValueRef::Integer(value), _) => number::write_integer(out, value),
        // Infinity is written as a string, because JSON has no infinite numbers: Go's decoder would reject the whole
        // document.
        (ValueRef::Real(f64::INFINITY), _) => out.extend_from_slice(b"\"Infinity\""),
        (ValueRef::Real(f64::NEG_INFINITY), _) => out.extend_from_slice(b"\"-Infinity\""),
        (ValueRef::Real(value), _) => number::write_real(out, value),
        (ValueRef::Text(text), Class::Time) => date::write_text(out, text),
        (ValueRef::Text(text), _) => json::write_text(out, text),
        (ValueRef::Blob(bytes), Class::Texty) if std::str::from_utf8(bytes).is_ok() => json::write_text(out, bytes),
        (ValueRef::Blob(bytes), _) if blob_array => write_array(out, bytes),
        (ValueRef::Blob(bytes), _) => json::write_base64(out, bytes),
    }
}

fn write_array(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'[');
    for (index, &byte) in bytes.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        number::write_integer(out, byte);
    }
    out.push(b']');
}

//! Writes the result of one query. What is the same in each row, such as the keys, is encoded only once.

use std::collections::HashMap;
use std::ops::Range;

use sqlhttp_core::{Block, Columns, Rows, ValueRef};
use sqlhttp_text::number;

use super::date::{is_date_type, write_date};
use crate::json;

/// Writes the result of one query.
#[derive(Debug)]
pub(super) struct RowWriter {
    list: bool,
    fields: Vec<Field>,
    /// The leads of all fields, one after the other. The lead of a field is the JSON before its value: a comma or the
    /// opening bracket and, in an object, the key.
    leads: Vec<u8>,
    /// The number of columns of the result.
    columns: usize,
    /// Whether a row has fewer fields than the result has columns, because several columns have the same name.
    rearranged: bool,
    has_rows: bool,
    /// Whether the JSON member `success` is written after the rows.
    success_last: bool,
}

/// A field of each row: where its value comes from, and how it is written.
#[derive(Debug)]
struct Field {
    /// The range of the field's lead in [`RowWriter::leads`].
    lead: Range<usize>,
    /// The index of the column that contains the value.
    column: usize,
    is_date: bool,
}

/// Returns the length of the leads of one row, in bytes. The result is exact if no column name needs escapes.
fn leads_len(columns: &Columns) -> usize {
    columns.iter().map(|column| column.name.len() + 4).sum()
}

/// Returns the approximate length of the JSON of a result with these rows, in bytes.
pub(super) fn room_for(rows: &Rows) -> usize {
    let leads = leads_len(&rows.columns);
    let values: usize = rows.blocks.iter().map(Block::byte_len).sum();
    let row = leads + rows.columns.len() + 2;
    values.saturating_add(rows.len().saturating_mul(row)).saturating_add(leads + 96)
}

impl RowWriter {
    /// Writes the beginning of the result of a query, up to its first row, and returns the writer of the rows.
    /// `success_last`: whether `success` is written after the rows, because the query may still fail after its first
    /// rows.
    pub(super) fn begin(out: &mut Vec<u8>, columns: &Columns, list: bool, success_last: bool) -> RowWriter {
        out.extend_from_slice(if success_last { b"{" } else { b"{\"success\":true," });
        if !columns.is_empty() {
            write_headers(out, columns);
        }
        out.extend_from_slice(if list { b"\"resultSetList\":[" } else { b"\"resultSet\":[" });
        let mut leads = Vec::with_capacity(leads_len(columns));
        let fields = if list { list_fields(columns, &mut leads) } else { map_fields(columns, &mut leads) };
        let rearranged = fields.len() != columns.len();
        RowWriter { list, fields, leads, columns: columns.len(), rearranged, has_rows: false, success_last }
    }

    /// Writes the end of the result of a query that succeeded.
    pub(super) fn end(self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.success_last { b"],\"success\":true}" } else { b"]}" });
    }

    /// Writes the end of the result of a query that failed, and returns true. If `"success":true` has already been
    /// written, returns false and writes nothing.
    pub(super) fn fail(self, out: &mut Vec<u8>, error: &str) -> bool {
        if self.success_last {
            out.extend_from_slice(b"],\"success\":false,\"error\":");
            json::write_string(out, error);
            out.push(b'}');
        }
        self.success_last
    }

    /// Writes the rows of a block.
    pub(super) fn block(&mut self, out: &mut Vec<u8>, block: &Block) {
        if self.columns == 0 || block.is_empty() {
            return;
        }
        let row_len = self.leads.len() + self.columns + 2;
        out.reserve(block.len().saturating_mul(row_len).saturating_add(block.byte_len()));
        if self.rearranged { self.rearranged_rows(out, block) } else { self.plain_rows(out, block) }
    }

    fn plain_rows(&mut self, out: &mut Vec<u8>, block: &Block) {
        let mut values = block.values();
        for _ in 0..block.len() {
            self.begin_row(out);
            for field in &self.fields {
                field.write(out, &self.leads, values.next().unwrap_or(ValueRef::Null));
            }
            self.end_row(out);
        }
    }

    fn rearranged_rows(&mut self, out: &mut Vec<u8>, block: &Block) {
        let mut values = block.values();
        let mut row = Vec::with_capacity(self.columns);
        for _ in 0..block.len() {
            row.clear();
            row.extend(values.by_ref().take(self.columns));
            self.begin_row(out);
            for field in &self.fields {
                field.write(out, &self.leads, row.get(field.column).copied().unwrap_or(ValueRef::Null));
            }
            self.end_row(out);
        }
    }

    fn begin_row(&mut self, out: &mut Vec<u8>) {
        if self.has_rows {
            out.push(b',');
        }
        self.has_rows = true;
    }

    fn end_row(&self, out: &mut Vec<u8>) {
        out.push(if self.list { b']' } else { b'}' });
    }
}

fn write_headers(out: &mut Vec<u8>, columns: &Columns) {
    out.extend_from_slice(b"\"resultHeaders\":[");
    for (index, column) in columns.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        json::write_string(out, &column.name);
    }
    out.extend_from_slice(b"],");
}

fn list_fields(columns: &Columns, leads: &mut Vec<u8>) -> Vec<Field> {
    let field = |index| {
        leads.push(if index == 0 { b'[' } else { b',' });
        Field::new(columns, index, index..index + 1)
    };
    (0..columns.len()).map(field).collect()
}

fn map_fields(columns: &Columns, leads: &mut Vec<u8>) -> Vec<Field> {
    let field = |(place, source): (usize, usize)| {
        let start = leads.len();
        leads.push(if place == 0 { b'{' } else { b',' });
        json::write_string(leads, &columns[source].name);
        leads.push(b':');
        Field::new(columns, source, start..leads.len())
    };
    sources(columns).into_iter().enumerate().map(field).collect()
}

/// Returns the indexes of the columns whose values a row contains if it is a JSON object, in the order of its keys. If
/// several columns have the same name, the key is at the position of the first of them and has the value of the last.
fn sources(columns: &Columns) -> Vec<usize> {
    let mut sources: Vec<usize> = Vec::with_capacity(columns.len());
    let mut places = HashMap::new();
    for (index, column) in columns.iter().enumerate() {
        // For few names, comparing all pairs costs less than hashing.
        let place = if columns.len() <= 16 {
            sources.iter().position(|&source| columns[source].name == column.name).unwrap_or(sources.len())
        } else {
            *places.entry(column.name.as_str()).or_insert(sources.len())
        };
        match sources.get_mut(place) {
            Some(source) => *source = index,
            None => sources.push(index),
        }
    }
    sources
}

impl Field {
    fn new(columns: &Columns, column: usize, lead: Range<usize>) -> Field {
        Field { lead, column, is_date: columns[column].decl_type.as_deref().is_some_and(is_date_type) }
    }

    fn write(&self, out: &mut Vec<u8>, leads: &[u8], value: ValueRef<'_>) {
        out.extend_from_slice(&leads[self.lead.clone()]);
        match value {
            ValueRef::Text(text) if self.is_date && write_date(out, text) => {}
            value => write_value(out, value),
        }
    }
}

fn write_value(out: &mut Vec<u8>, value: ValueRef<'_>) {
    match value {
        // Like ws4sqlite, an empty BLOB is written as null. Clients may rely on that.
        ValueRef::Null | ValueRef::Blob([]) => out.extend_from_slice(b"null"),
        ValueRef::Integer(value) => number::write_integer(out, value),
        ValueRef::Real(value) => number::write_real(out, value),
        ValueRef::Text(text) => json::write_text(out, text),
        ValueRef::Blob(bytes) => json::write_base64(out, bytes),
    }
}

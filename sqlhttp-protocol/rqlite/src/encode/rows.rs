//! Writes the result of one statement that returns rows. What is the same in each row, such as the keys, is encoded
//! only once.

use std::borrow::Cow;
use std::ops::Range;

use sqlhttp_core::{Block, Column, Columns, RowRef, Rows, ValueRef};

use super::value::{self, Class};
use crate::json;

/// The form in which rows are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    /// Whether each row is a JSON object rather than an array.
    pub(super) associative: bool,
    /// Whether BLOBs are written as arrays of integers rather than as base64.
    pub(super) blob_array: bool,
    /// Whether the name of each column includes the name of its table.
    pub(super) qualified: bool,
}

/// Writes the rows of one result.
#[derive(Debug)]
pub(super) struct RowWriter {
    style: Style,
    fields: Vec<Field>,
    /// The leads of all fields, one after the other. The lead of a field is the JSON before its value: a comma or the
    /// opening bracket and, in an object, the key.
    leads: Vec<u8>,
    /// The number of columns of the result.
    columns: usize,
    /// Whether a row has other fields than the columns, or has them in another order.
    rearranged: bool,
    /// Whether the opening bracket of the list of rows has been written.
    opened: bool,
    has_rows: bool,
}

/// Returns the approximate length of the JSON of a result with these rows, in bytes. Each row is taken to be an array.
pub(super) fn room_for(rows: &Rows) -> usize {
    let header: usize = rows.columns.iter().map(|column| column.name.len() + 16).sum();
    let values: usize = rows.blocks.iter().map(Block::byte_len).sum();
    let leads = rows.len().saturating_mul(2 * rows.columns.len() + 2);
    values.saturating_add(leads).saturating_add(header + 64)
}

/// A field of each row: where its value comes from, and how it is written.
#[derive(Debug)]
struct Field {
    /// The range of the field's lead in [`RowWriter::leads`].
    lead: Range<usize>,
    /// The index of the column that contains the value.
    column: usize,
    class: Class,
}

impl RowWriter {
    /// Writes the beginning of a result, up to its first row, and returns the writer of the rows. The first row
    /// determines the types of the columns that have no declared type.
    pub(super) fn begin(out: &mut Vec<u8>, columns: &Columns, first: Option<RowRef<'_>>, style: Style) -> RowWriter {
        let names: Vec<_> = columns.iter().map(|column| name(column, style.qualified)).collect();
        let types = types(columns, first);
        let order = if style.associative { sorted(&names) } else { (0..columns.len()).collect() };
        out.push(b'{');
        if !columns.is_empty() {
            write_header(out, &names, &types, &order, style);
        }
        let opened = style.associative || first.is_some();
        if opened {
            json::write_key(out, if style.associative { "rows" } else { "values" });
            out.push(b'[');
        }
        let mut leads = Vec::new();
        let field = |(place, &column): (usize, &usize)| Field {
            lead: write_lead(&mut leads, place, &names[column], style),
            column,
            class: Class::of(&types[column]),
        };
        RowWriter {
            style,
            fields: order.iter().enumerate().map(field).collect(),
            leads,
            columns: columns.len(),
            rearranged: order.iter().enumerate().any(|(place, &column)| place != column) || order.len() < columns.len(),
            opened,
            has_rows: false,
        }
    }

    /// Writes the bracket that closes the list of rows. The result itself is not closed.
    pub(super) fn end(self, out: &mut Vec<u8>) {
        if self.opened {
            out.push(b']');
        }
    }

    /// Writes the rows of a block.
    pub(super) fn block(&mut self, out: &mut Vec<u8>, block: &Block) {
        if self.columns == 0 {
            return;
        }
        let row_len = self.leads.len() + self.columns + 2;
        out.reserve(block.len().saturating_mul(row_len).saturating_add(block.byte_len()));
        let mut values = block.values();
        let mut row = Vec::with_capacity(if self.rearranged { self.columns } else { 0 });
        for _ in 0..block.len() {
            if self.has_rows {
                out.push(b',');
            }
            self.has_rows = true;
            if self.rearranged {
                row.clear();
                row.extend(values.by_ref().take(self.columns));
                self.row(out, |column| row.get(column).copied());
            } else {
                self.row(out, |_| values.next());
            }
        }
    }

    fn row<'v>(&self, out: &mut Vec<u8>, mut value_of: impl FnMut(usize) -> Option<ValueRef<'v>>) {
        for field in &self.fields {
            out.extend_from_slice(&self.leads[field.lead.clone()]);
            let value = value_of(field.column).unwrap_or(ValueRef::Null);
            value::write(out, value, field.class, self.style.blob_array);
        }
        out.push(if self.style.associative { b'}' } else { b']' });
    }
}

fn name(column: &Column, qualified: bool) -> Cow<'_, str> {
    match &column.table {
        Some(table) if qualified => Cow::Owned(format!("{table}.{}", column.name)),
        _ => Cow::Borrowed(&column.name),
    }
}

fn types<'c>(columns: &'c Columns, first: Option<RowRef<'_>>) -> Vec<Cow<'c, str>> {
    let mut values = first.map(|row| row.values());
    let type_name = |column: &'c Column| {
        let value = values.as_mut().and_then(Iterator::next);
        match column.decl_type.as_deref() {
            Some(declared) if !declared.is_empty() => lower_case(declared),
            _ => Cow::Borrowed(value.map_or("", value::type_of)),
        }
    };
    columns.iter().map(type_name).collect()
}

fn lower_case(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|b| b.is_ascii_lowercase()) { Cow::Borrowed(text) } else { Cow::Owned(text.to_lowercase()) }
}

/// Returns the indexes of the columns, sorted by the names of the columns. If several columns have the same name, only
/// the last of them is kept.
fn sorted(names: &[Cow<'_, str>]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by(|&a, &b| names[a].cmp(&names[b]).then(b.cmp(&a)));
    order.dedup_by(|later, earlier| names[*later] == names[*earlier]);
    order
}

fn write_header(out: &mut Vec<u8>, names: &[Cow<'_, str>], types: &[Cow<'_, str>], order: &[usize], style: Style) {
    if style.associative {
        json::write_key(out, "types");
        out.push(b'{');
        for &column in order {
            json::write_key(out, &names[column]);
            json::write_string(out, &types[column]);
        }
        out.push(b'}');
    } else {
        json::write_key(out, "columns");
        write_strings(out, names);
        json::write_key(out, "types");
        write_strings(out, types);
    }
}

fn write_strings(out: &mut Vec<u8>, strings: &[Cow<'_, str>]) {
    for (index, string) in strings.iter().enumerate() {
        out.push(if index == 0 { b'[' } else { b',' });
        json::write_string(out, string);
    }
    out.push(b']');
}

/// Appends the lead of a field to `leads`, and returns its range. `place` is the position of the field in the row,
/// counted from 0.
fn write_lead(leads: &mut Vec<u8>, place: usize, name: &str, style: Style) -> Range<usize> {
    let start = leads.len();
    leads.push(match (place, style.associative) {
        (0, true) => b'{',
        (0, false) => b'[',
        _ => b',',
    });
    if style.associative {
        json::write_string(leads, name);
        leads.push(b':');
    }
    start..leads.len()
}

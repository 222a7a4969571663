//! Encodes batches as request bodies of the ws4sqlite protocol.

use sqlhttp_core::{Action, Atomicity, Batch, BindRule, Binding, Bindings, Expect, Failure, OnError, Step, Value};
use sqlhttp_text::number;

use crate::call::Credentials;
use crate::json;

/// The form in which the reply contains rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Each row is a JSON object. If several columns have the same name, the object contains only the value of the last
    /// one.
    Map,
    /// Each row is a JSON array with the values of all columns.
    #[default]
    List,
}

/// The error for a batch that cannot be expressed as a request of the ws4sqlite protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the protocol cannot express {what}{}", step.map(|i| format!(" (step {i})")).unwrap_or_default())]
pub struct NotExpressible {
    /// The index of the step that cannot be expressed, counted from 0. `None` if the batch as a whole cannot be
    /// expressed.
    pub step: Option<usize>,
    /// The part of the batch or step that cannot be expressed.
    pub what: &'static str,
}

/// Encodes a batch as a JSON request body. A step that must return rows becomes a `query`, and any other step a
/// `statement`.
///
/// # Errors
/// [`NotExpressible`] for:
///
/// * a batch with a stamp, or a batch that is not one transaction
/// * a step that is known to fail, and a step that may return either rows or a count
/// * an expected number of rows
/// * a step that runs several times and must return rows, and an empty list of sets of values
/// * an SQL text that is empty or begins with `#`: the server would read it as the id of a stored statement
/// * a BLOB, an infinite value, and values of which only some have names
/// * the binding rule that counts the values
pub fn encode_call(
    batch: &Batch,
    credentials: Option<&Credentials>,
    format: Format,
) -> Result<Vec<u8>, NotExpressible> {
    let whole = |what| Err(NotExpressible { step: None, what });
    if batch.atomicity != Atomicity::All {
        return whole("steps that stand alone");
    }
    if batch.stamp.is_some() {
        return whole("a stamp");
    }
    let mut out = Vec::with_capacity(64 + 64 * batch.steps.len());
    out.push(b'{');
    if format == Format::List {
        out.extend_from_slice(b"\"resultFormat\":\"list\",");
    }
    if let Some(credentials) = credentials {
        write_credentials(&mut out, credentials);
    }
    out.extend_from_slice(b"\"transaction\":[");
    for (index, step) in batch.steps.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_step(&mut out, step).map_err(|what| NotExpressible { step: Some(index), what })?;
    }
    out.extend_from_slice(b"]}");
    Ok(out)
}

/// Returns the batch in the form that [`encode_call`] accepts, as far as the protocol permits:
///
/// * A step that expects either rows or a count is a query. If it has no columns, its result is rows without columns.
/// * A named value has its name without the prefix `:`, `@` or `$`, as ws4sqlite expects it.
/// * A batch of one step is a transaction, so [`Atomicity::Each`] is the same as [`Atomicity::All`]. A step whose
///   failure must not end its batch has `noFail`.
pub fn adapt(mut batch: Batch) -> Batch {
    if let [step] = &mut batch.steps[..]
        && batch.atomicity == Atomicity::Each
    {
        batch.atomicity = Atomicity::All;
        step.on_error = OnError::Continue;
    }
    for step in &mut batch.steps {
        if matches!(step.expect, Expect::Either | Expect::Returning) {
            step.expect = Expect::Rows;
        }
        match &mut step.action {
            Action::Run { bindings, .. } => remove_prefixes(bindings),
            Action::RunEach { bindings, .. } => bindings.iter_mut().flatten().for_each(remove_prefixes),
            Action::Fail(_) => {}
        }
    }
    batch
}

fn remove_prefixes(bindings: &mut Bindings) {
    for name in bindings.entries.iter_mut().filter_map(|entry| entry.name.as_mut()) {
        if let Some(short) = name.strip_prefix([':', '@', '$']) {
            *name = short.into();
        }
    }
}

fn write_credentials(out: &mut Vec<u8>, credentials: &Credentials) {
    out.extend_from_slice(b"\"credentials\":{\"user\":");
    json::write_string(out, &credentials.user);
    out.extend_from_slice(b",\"password\":");
    json::write_string(out, &credentials.password);
    out.extend_from_slice(b"},");
}

fn write_step(out: &mut Vec<u8>, step: &Step) -> Result<(), &'static str> {
    let key: &[u8] = match step.expect {
        Expect::Rows => b"{\"query\":",
        Expect::Count => b"{\"statement\":",
        Expect::ExactCount(_) | Expect::ExactRows(_) => return Err("an expected number of rows"),
        Expect::Either | Expect::Returning => return Err("a step that expects rows or a count"),
    };
    out.extend_from_slice(key);
    match &step.action {
        Action::Run { sql, bindings } => {
            write_sql(out, sql)?;
            if !bindings.entries.is_empty() {
                out.extend_from_slice(b",\"values\":");
                write_bindings(out, bindings)?;
            }
        }
        Action::RunEach { .. } if step.expect == Expect::Rows => return Err("rows of a step that runs several times"),
        Action::RunEach { sql, bindings } => {
            write_sql(out, sql)?;
            write_batch(out, bindings)?;
        }
        Action::Fail(_) => return Err("a step that is known to fail"),
    }
    if step.on_error == OnError::Continue {
        out.extend_from_slice(b",\"noFail\":true");
    }
    out.push(b'}');
    Ok(())
}

fn write_sql(out: &mut Vec<u8>, sql: &str) -> Result<(), &'static str> {
    if sql.is_empty() || sql.starts_with('#') {
        return Err("SQL that is empty or begins with #");
    }
    json::write_string(out, sql);
    Ok(())
}

fn write_batch(out: &mut Vec<u8>, sets: &[Result<Bindings, Failure>]) -> Result<(), &'static str> {
    if sets.is_empty() {
        return Err("an empty list of sets of values");
    }
    out.extend_from_slice(b",\"valuesBatch\":");
    for (index, set) in sets.iter().enumerate() {
        out.push(if index == 0 { b'[' } else { b',' });
        write_bindings(out, set.as_ref().map_err(|_| "a set of values that is known to fail")?)?;
    }
    out.push(b']');
    Ok(())
}

fn write_bindings(out: &mut Vec<u8>, bindings: &Bindings) -> Result<(), &'static str> {
    if bindings.rule == BindRule::Counted {
        return Err("binding by count");
    }
    let named = bindings.entries.iter().filter(|entry| entry.name.is_some()).count();
    if named != 0 && named != bindings.entries.len() {
        return Err("values of which only some are named");
    }
    let (open, close) = if named == 0 { (b'[', b']') } else { (b'{', b'}') };
    out.push(open);
    for (index, Binding { name, value }) in bindings.entries.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        if let Some(name) = name {
            json::write_string(out, name);
            out.push(b':');
        }
        write_value(out, value)?;
    }
    out.push(close);
    Ok(())
}

fn write_value(out: &mut Vec<u8>, value: &Value) -> Result<(), &'static str> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Integer(value) => number::write_integer(out, *value),
        // SQLite stores NaN as NULL.
        Value::Real(value) if value.is_nan() => out.extend_from_slice(b"null"),
        Value::Real(value) if value.is_infinite() => return Err("an infinite value"),
        // The fraction is written even if it is zero. Otherwise, the server would read the number as an INTEGER.
        Value::Real(value) => out.extend_from_slice(zmij::Buffer::new().format_finite(*value).as_bytes()),
        Value::Text(text) => json::write_string(out, text),
        Value::Blob(_) => return Err("a BLOB as a value"),
    }
    Ok(())
}

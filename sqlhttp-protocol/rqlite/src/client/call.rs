//! Encodes batches as requests of the rqlite protocol.

use sqlhttp_core::{Action, Atomicity, Batch, BindRule, Binding, Bindings, Value};
use sqlhttp_text::number;

use crate::decode::spelled_bytes;
use crate::endpoint::Endpoint;
use crate::params::Params;
use crate::{call, json};

/// The error for a batch that cannot be expressed as a request of the rqlite protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the protocol cannot express {what}{}", step.map(|i| format!(" (step {i})")).unwrap_or_default())]
pub struct NotExpressible {
    /// The index of the step that cannot be expressed, counted from 0. `None` if the batch as a whole cannot be
    /// expressed.
    pub step: Option<usize>,
    /// The part of the batch or step that cannot be expressed.
    pub what: &'static str,
}

/// A request of the rqlite protocol, to be sent with POST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The parameters of the query string. The caller may set further ones.
    pub params: Params,
    /// The body of the request. Its content type is `application/json`.
    pub body: Vec<u8>,
}

/// Encodes a batch as a request to an endpoint.
///
/// # Errors
/// [`NotExpressible`] for:
///
/// * a batch without steps, or with a stamp
/// * a step that runs several times or is known to fail
/// * a step whose expected result, or whose behaviour after a failure, differs from that of the endpoint
/// * a step whose SQL text is empty
/// * a binding rule other than [`BindRule::Counted`], and a value with an empty name
/// * an infinite value, and a TEXT value that looks like a BLOB (`x'00'`)
pub fn encode_call(batch: &Batch, endpoint: Endpoint) -> Result<Request, NotExpressible> {
    let whole = |what| Err(NotExpressible { step: None, what });
    if batch.steps.is_empty() {
        return whole("a batch without steps");
    }
    if batch.stamp.is_some() {
        return whole("a stamp");
    }
    let transaction = batch.atomicity == Atomicity::All;
    let params = Params { transaction, timings: batch.timed, ..Params::default() };
    let mut body = Vec::with_capacity(64 * batch.steps.len());
    for (index, step) in batch.steps.iter().enumerate() {
        body.push(if index == 0 { b'[' } else { b',' });
        let blame = |what| NotExpressible { step: Some(index), what };
        if step.expect != call::expect(endpoint) {
            return Err(blame("this expectation at this endpoint"));
        }
        if step.on_error != call::on_error(endpoint, params.transaction) {
            return Err(blame("what a failure means"));
        }
        write_action(&mut body, &step.action).map_err(blame)?;
    }
    body.push(b']');
    Ok(Request { params, body })
}

/// Returns the batch in the form that [`encode_call`] accepts at an endpoint:
///
/// * The endpoint determines the kind of each result. A statement with a RETURNING clause returns rows, even if the
///   step expects the number of changed rows.
/// * Values are bound by count. A parameter without a named value is NULL, even if the rule of the step is
///   [`BindRule::Strict`].
/// * A named value has its name without the prefix `:`, `@` or `$`, as rqlite expects it.
/// * At `/db/query`, the queries after a failed one also run.
pub fn adapt_to_endpoint(batch: &Batch, endpoint: Endpoint) -> Batch {
    let mut batch = batch.clone();
    for step in &mut batch.steps {
        step.expect = call::expect(endpoint);
        if endpoint == Endpoint::Query {
            step.on_error = call::on_error(endpoint, batch.atomicity == Atomicity::All);
        }
        if let Action::Run { bindings, .. } = &mut step.action {
            bindings.rule = BindRule::Counted;
            for name in bindings.entries.iter_mut().filter_map(|entry| entry.name.as_mut()) {
                if let Some(short) = name.strip_prefix([':', '@', '$']) {
                    *name = short.into();
                }
            }
        }
    }
    batch
}

fn write_action(out: &mut Vec<u8>, action: &Action) -> Result<(), &'static str> {
    match action {
        Action::Run { sql, .. } if sql.is_empty() => Err("empty SQL"),
        Action::Run { sql, bindings } if bindings.entries.is_empty() => {
            json::write_string(out, sql);
            Ok(())
        }
        Action::Run { sql, bindings } => {
            out.push(b'[');
            json::write_string(out, sql);
            write_bindings(out, bindings)?;
            out.push(b']');
            Ok(())
        }
        Action::RunEach { .. } => Err("a step that runs several times"),
        Action::Fail(_) => Err("a step that is known to fail"),
    }
}

fn write_bindings(out: &mut Vec<u8>, bindings: &Bindings) -> Result<(), &'static str> {
    if bindings.rule != BindRule::Counted {
        return Err("binding by another rule than by count");
    }
    for Binding { name, value } in &bindings.entries {
        out.push(b',');
        match name.as_deref() {
            None => write_value(out, value)?,
            Some("") => return Err("an empty name"),
            // Each name is written in an object of its own, because the keys within one object must differ.
            Some(name) => {
                out.push(b'{');
                json::write_key(out, name);
                write_value(out, value)?;
                out.push(b'}');
            }
        }
    }
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
        Value::Text(text) if spelled_bytes(text).is_some() => return Err("a text that looks like a BLOB"),
        Value::Text(text) => json::write_string(out, text),
        Value::Blob(bytes) => write_blob(out, bytes),
    }
    Ok(())
}

/// Writes a BLOB as `"x'0aff'"`, which is shorter than an array of integers.
fn write_blob(out: &mut Vec<u8>, bytes: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(b"\"x'");
    for byte in bytes {
        out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
    out.extend_from_slice(b"'\"");
}

//! Decodes replies of the rqlite protocol.

use std::collections::{BTreeMap, HashMap};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use sqlhttp_core::Value;

/// A decoded reply with the results of the statements.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    /// The results of the statements, in their order.
    pub results: Vec<StatementResult>,
    /// The duration of the request, in seconds. `None` if the reply does not contain it.
    pub time: Option<f64>,
    /// The sequence number of a queued write. `None` in the replies to other requests.
    pub sequence_number: Option<i64>,
    /// The index of the Raft log entry that contains the request. `None` if the reply does not contain it.
    pub raft_index: Option<u64>,
}

/// The result of one statement.
#[derive(Debug, Clone, PartialEq)]
pub enum StatementResult {
    /// The statement returned rows.
    Rows(ResultRows),
    /// The statement made changes, or it ran without returning columns. The protocol does not distinguish the two
    /// cases.
    Changed(Changes),
    /// The statement failed. The text is the error message.
    Failed(String),
}

/// The columns and rows that a statement returned.
#[derive(Debug, Clone, PartialEq)]
pub struct ResultRows {
    /// The names of the columns. If rows are JSON objects (`associative`), the names are sorted and without duplicates.
    pub columns: Vec<String>,
    /// The types of the columns. The type is empty if the server cannot tell it.
    pub types: Vec<String>,
    /// The rows. Each has one value for each column.
    ///
    /// Some types are lost in JSON. A BLOB becomes a TEXT value with its base64, unless the client asked for
    /// `blob_array`. A REAL without a fraction becomes an INTEGER. True and false become 1 and 0.
    pub rows: Vec<Vec<Value>>,
    /// The duration of the statement, in seconds. `None` if the reply does not contain it.
    pub time: Option<f64>,
}

/// The changes that a statement made.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Changes {
    /// The rowid of the last row that was inserted. `None` if the reply does not contain it.
    pub last_insert_id: Option<i64>,
    /// The number of rows that the statement changed.
    pub rows_affected: u64,
    /// The duration of the statement, in seconds. `None` if the reply does not contain it.
    pub time: Option<f64>,
}

/// The error of a reply that contains no results.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// The server refused the request: the status of the reply is not 200.
    #[error("{status}: {text}")]
    Refused {
        /// The HTTP status of the reply.
        status: u16,
        /// The body of the reply, without the line feed at its end.
        text: String,
    },
    /// The request failed as a whole. The text is the error message.
    #[error("{0}")]
    Failed(String),
    /// The reply has status 200 but does not follow the protocol. The text is the reason.
    #[error("the reply is malformed: {0}")]
    Malformed(String),
}

/// Decodes a reply of `/db/execute`, `/db/query`, `/db/request` or `/db/load`.
///
/// # Errors
/// See [`ReplyError`].
pub fn decode_reply(status: u16, body: &[u8]) -> Result<Response, ReplyError> {
    if status != 200 {
        let text = String::from_utf8_lossy(body).trim_end().to_owned();
        return Err(ReplyError::Refused { status, text });
    }
    let reply: WireReply = serde_json::from_slice(body).map_err(|error| ReplyError::Malformed(error.to_string()))?;
    if let Some(error) = reply.error {
        return Err(ReplyError::Failed(error));
    }
    let results = reply.results.into_iter().map(WireResult::interpret);
    let results: Result<_, &str> = results.collect();
    Ok(Response {
        results: results.map_err(|what| ReplyError::Malformed(what.to_owned()))?,
        time: reply.time,
        sequence_number: reply.sequence_number,
        raft_index: reply.raft_index,
    })
}

#[derive(Deserialize)]
struct WireReply {
    results: Vec<WireResult>,
    error: Option<String>,
    time: Option<f64>,
    sequence_number: Option<i64>,
    raft_index: Option<u64>,
}

#[derive(Deserialize)]
struct WireResult {
    last_insert_id: Option<i64>,
    rows_affected: Option<u64>,
    columns: Option<Vec<String>>,
    types: Option<Types>,
    values: Option<Vec<Vec<Scalar>>>,
    rows: Option<Vec<HashMap<String, Scalar>>>,
    error: Option<String>,
    time: Option<f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Types {
    List(Vec<String>),
    Object(BTreeMap<String, String>),
}

impl WireResult {
    fn interpret(self) -> Result<StatementResult, &'static str> {
        if let Some(error) = self.error {
            return Ok(StatementResult::Failed(error));
        }
        let (columns, types) = match (self.columns, self.types) {
            (Some(columns), Some(Types::List(types))) if types.len() == columns.len() => (columns, types),
            (None, Some(Types::Object(types))) => types.into_iter().unzip(),
            (None, None) => {
                return Ok(StatementResult::Changed(Changes {
                    last_insert_id: self.last_insert_id,
                    rows_affected: self.rows_affected.unwrap_or(0),
                    time: self.time,
                }));
            }
            _ => return Err("columns and types do not match"),
        };
        let rows = match self.rows {
            Some(objects) => objects.into_iter().map(|object| in_order(&columns, object)).collect::<Result<_, _>>()?,
            None => in_lists(columns.len(), self.values.unwrap_or_default())?,
        };
        Ok(StatementResult::Rows(ResultRows { columns, types, rows, time: self.time }))
    }
}

fn in_lists(columns: usize, lists: Vec<Vec<Scalar>>) -> Result<Vec<Vec<Value>>, &'static str> {
    if lists.iter().any(|list| list.len() != columns) {
        return Err("a row has not as many values as there are columns");
    }
    let row = |list: Vec<Scalar>| list.into_iter().map(|scalar| scalar.0).collect();
    Ok(lists.into_iter().map(row).collect())
}

fn in_order(columns: &[String], mut object: HashMap<String, Scalar>) -> Result<Vec<Value>, &'static str> {
    let value = |column: &String| object.remove(column).map(|scalar| scalar.0).ok_or("a row lacks a column");
    columns.iter().map(value).collect()
}

/// A JSON value of a row, converted to an SQLite value.
struct Scalar(Value);

impl<'de> Deserialize<'de> for Scalar {
    // The number is parsed from its JSON text here, because the number parser of serde_json rejects 9e999.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = <&RawValue>::deserialize(deserializer)?.get();
        scalar(json).map(Scalar).map_err(D::Error::custom)
    }
}

fn scalar(json: &str) -> Result<Value, serde_json::Error> {
    Ok(match json.as_bytes().first() {
        Some(b'"') => Value::Text(serde_json::from_str(json)?),
        Some(b'n') => Value::Null,
        Some(b't') => Value::Integer(1),
        Some(b'f') => Value::Integer(0),
        Some(b'[') => Value::Blob(serde_json::from_str(json)?),
        Some(b'{') => return Err(serde_json::Error::custom("a value should be no object")),
        _ => match json.parse() {
            Ok(integer) if json != "-0" => Value::Integer(integer),
            _ => Value::Real(json.parse().map_err(serde_json::Error::custom)?),
        },
    })
}

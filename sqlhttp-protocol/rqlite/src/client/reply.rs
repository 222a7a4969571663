//! Decodes replies of the rqlite protocol.

use std::collections::{BTreeMap, HashMap};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use sqlhttp_core::Value;

/// A value of a row in a reply, decoded from JSON: a [`Value`] or a [`JsonText`]. Programs cannot implement this trait.
pub trait Cell: Sized + sealed::Sealed {
    /// Decodes a value from its JSON text.
    ///
    /// # Errors
    /// The text is not the JSON of a value.
    fn from_json(json: &str) -> Result<Self, serde_json::Error>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for sqlhttp_core::Value {}
    impl Sealed for super::JsonText {}
}

/// A value of a row as the JSON text that the server has sent. It shows numbers exactly as the server wrote them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonText(pub String);

/// A decoded reply with the results of the statements.
#[derive(Debug, Clone, PartialEq)]
pub struct Response<V = Value> {
    /// The results of the statements, in their order.
    pub results: Vec<StatementResult<V>>,
    /// The duration of the request, in seconds. `None` if the reply does not contain it.
    pub time: Option<f64>,
    /// The sequence number of a queued write. `None` in the replies to other requests.
    pub sequence_number: Option<i64>,
    /// The index of the Raft log entry that contains the request. `None` if the reply does not contain it.
    pub raft_index: Option<u64>,
}

/// The result of one statement.
#[derive(Debug, Clone, PartialEq)]
pub enum StatementResult<V = Value> {
    /// The statement returned rows.
    Rows(ResultRows<V>),
    /// The statement made changes, or it ran without returning columns. The protocol does not distinguish the two
    /// cases.
    Changed(Changes),
    /// The statement failed. The text is the error message.
    Failed(String),
}

/// The columns and rows that a statement returned.
#[derive(Debug, Clone, PartialEq)]
pub struct ResultRows<V = Value> {
    /// The names of the columns. If rows are JSON objects (`associative`), the names are sorted and without duplicates.
    pub columns: Vec<String>,
    /// The types of the columns. The type is empty if the server cannot tell it.
    pub types: Vec<String>,
    /// The rows. Each has one value for each column.
    ///
    /// Some types are lost in JSON. A BLOB becomes a TEXT value with its base64, unless the client asked for
    /// `blob_array`. A REAL without a fraction becomes an INTEGER. True and false become 1 and 0.
    pub rows: Vec<Vec<V>>,
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
#[non_exhaustive]
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
    decode_reply_as(status, body)
}

/// Decodes a reply like [`decode_reply`], with values of another type.
///
/// # Errors
/// See [`ReplyError`].
pub fn decode_reply_as<V: Cell>(status: u16, body: &[u8]) -> Result<Response<V>, ReplyError> {
    if status != 200 {
        let text = String::from_utf8_lossy(body).trim_end().to_owned();
        return Err(ReplyError::Refused { status, text });
    }
    let reply: WireReply<V> = serde_json::from_slice(body).map_err(|error| ReplyError::Malformed(error.to_string()))?;
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
#[serde(bound = "V: Cell")]
struct WireReply<V> {
    results: Vec<WireResult<V>>,
    error: Option<String>,
    time: Option<f64>,
    sequence_number: Option<i64>,
    raft_index: Option<u64>,
}

#[derive(Deserialize)]
#[serde(bound = "V: Cell")]
pub(super) struct WireResult<V> {
    last_insert_id: Option<i64>,
    rows_affected: Option<u64>,
    columns: Option<Vec<String>>,
    types: Option<Types>,
    values: Option<Vec<Vec<Scalar<V>>>>,
    rows: Option<Vec<HashMap<String, Scalar<V>>>>,
    error: Option<String>,
    time: Option<f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Types {
    List(Vec<String>),
    Object(BTreeMap<String, String>),
}

impl<V> WireResult<V> {
    pub(super) fn interpret(self) -> Result<StatementResult<V>, &'static str> {
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

fn in_lists<V>(columns: usize, lists: Vec<Vec<Scalar<V>>>) -> Result<Vec<Vec<V>>, &'static str> {
    lists.into_iter().map(|list| in_list(columns, list)).collect()
}

/// Returns the values of a row. The row must have one value for each column.
pub(super) fn in_list<V>(columns: usize, list: Vec<Scalar<V>>) -> Result<Vec<V>, &'static str> {
    if list.len() == columns {
        Ok(list.into_iter().map(|scalar| scalar.0).collect())
    } else {
        Err("a row has not as many values as there are columns")
    }
}

fn in_order<V>(columns: &[String], mut object: HashMap<String, Scalar<V>>) -> Result<Vec<V>, &'static str> {
    let value = |column: &String| object.remove(column).map(|scalar| scalar.0).ok_or("a row lacks a column");
    columns.iter().map(value).collect()
}

/// A value of a row, decoded from its JSON text.
pub(super) struct Scalar<V>(V);

impl<'de, V: Cell> Deserialize<'de> for Scalar<V> {
    // The number is parsed from its JSON text here, because the number parser of serde_json rejects 9e999.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = <&RawValue>::deserialize(deserializer)?.get();
        V::from_json(json).map(Scalar).map_err(D::Error::custom)
    }
}

impl Cell for Value {
    fn from_json(json: &str) -> Result<Value, serde_json::Error> {
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
}

impl Cell for JsonText {
    fn from_json(json: &str) -> Result<JsonText, serde_json::Error> {
        Ok(JsonText(json.to_owned()))
    }
}

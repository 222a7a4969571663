//! Decodes replies of the ws4sqlite protocol.

use std::collections::HashMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use sqlhttp_core::Value;

use crate::reply::Refusal;

/// The result of one query or statement of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum ItemResult {
    /// The rows that a query returned. Some types are lost in JSON: a BLOB becomes a TEXT value with its base64, and a
    /// REAL without a fraction becomes an INTEGER.
    Rows {
        /// The names of the columns.
        headers: Vec<String>,
        /// The rows. Each has one value for each column.
        rows: Vec<Vec<Value>>,
    },
    /// The number of rows that a statement changed.
    Updated(u64),
    /// The numbers of rows that a statement with `valuesBatch` changed, one for each set of values.
    UpdatedEach(Vec<u64>),
    /// The query or statement failed, but the transaction continued because of `noFail`. The text is the error message.
    Failed(String),
}

/// The error of a reply that contains no results.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// The server refused the request, or rolled its transaction back. If the body of the reply is not a JSON error
    /// object (such as a 401 in plain text), the error message of the refusal is the body, and its `req_idx` is -1.
    #[error("{0}")]
    Refused(Refusal),
    /// The reply has status 200 but does not follow the protocol. The text is the reason.
    #[error("the reply is malformed: {0}")]
    Malformed(String),
}

/// Decodes a reply, and returns one result for each query or statement.
///
/// # Errors
/// See [`ReplyError`].
pub fn decode_reply(status: u16, body: &[u8]) -> Result<Vec<ItemResult>, ReplyError> {
    if status != 200 {
        let foreign = || Refusal::whole(status, String::from_utf8_lossy(body));
        return Err(ReplyError::Refused(refusal(status, body).unwrap_or_else(foreign)));
    }
    let reply: WireReply = serde_json::from_slice(body).map_err(|error| ReplyError::Malformed(error.to_string()))?;
    let results = reply.results.into_iter().map(WireItem::understand);
    results.collect::<Result<_, _>>().map_err(|what| ReplyError::Malformed(what.to_owned()))
}

/// Decodes the JSON error object of a server. `None` if the body is something else, such as the page of a proxy. If the
/// body was cut off ([`receive`](sqlhttp_text::http::receive)), the message is the part that has arrived.
pub(super) fn refusal(status: u16, body: &[u8]) -> Option<Refusal> {
    let WireError { req_idx, error } = match serde_json::from_slice(body) {
        Ok(error) => error,
        Err(error) if error.is_eof() && body.starts_with(b"{\"reqIdx\":") => ended(body)?,
        Err(_) => return None,
    };
    Some(Refusal { status, req_idx, error })
}

/// Decodes an error object that ends within its message.
fn ended(body: &[u8]) -> Option<WireError> {
    /// The length of the longest character, a surrogate pair: `\ud83d\ude00`.
    const CHARACTER_BYTES_MAX: usize = 12;
    (0..CHARACTER_BYTES_MAX).find_map(|removed| {
        let whole = [body.get(..body.len().checked_sub(removed)?)?, b"\"}"].concat();
        serde_json::from_slice(&whole).ok()
    })
}

#[derive(Deserialize)]
struct WireError {
    #[serde(rename = "reqIdx")]
    req_idx: i64,
    error: String,
}

#[derive(Deserialize)]
struct WireReply {
    results: Vec<WireItem>,
}

/// The members of an item before its rows.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireHeaders {
    #[serde(default)]
    pub(super) result_headers: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireItem {
    success: bool,
    rows_updated: Option<u64>,
    rows_updated_batch: Option<Vec<u64>>,
    result_headers: Option<Vec<String>>,
    result_set: Option<Vec<HashMap<String, Scalar>>>,
    result_set_list: Option<Vec<Vec<Scalar>>>,
    error: Option<String>,
}

impl WireItem {
    pub(super) fn understand(self) -> Result<ItemResult, &'static str> {
        if !self.success {
            return Ok(ItemResult::Failed(self.error.unwrap_or_default()));
        }
        if let Some(count) = self.rows_updated {
            return Ok(ItemResult::Updated(count));
        }
        let headers = self.result_headers.unwrap_or_default();
        match (self.result_set, self.result_set_list) {
            (Some(objects), None) => {
                let rows = objects.iter().map(|object| in_order(&headers, object)).collect::<Result<_, _>>()?;
                Ok(ItemResult::Rows { headers, rows })
            }
            (None, Some(lists)) => {
                let rows = lists.into_iter().map(|list| in_list(headers.len(), list)).collect::<Result<_, _>>()?;
                Ok(ItemResult::Rows { headers, rows })
            }
            (Some(_), Some(_)) => Err("an item has two results"),
            // The result of an empty `valuesBatch` contains no counts.
            (None, None) => Ok(ItemResult::UpdatedEach(self.rows_updated_batch.unwrap_or_default())),
        }
    }
}

/// Returns the values of a row. The row must have one value for each column.
pub(super) fn in_list(columns: usize, list: Vec<Scalar>) -> Result<Vec<Value>, &'static str> {
    if list.len() == columns {
        Ok(list.into_iter().map(|scalar| scalar.0).collect())
    } else {
        Err("a row has not as many values as there are columns")
    }
}

fn in_order(headers: &[String], object: &HashMap<String, Scalar>) -> Result<Vec<Value>, &'static str> {
    let value = |header| object.get(header).map(|scalar| scalar.0.clone()).ok_or("a row lacks a column");
    headers.iter().map(value).collect()
}

/// A JSON value of a row, converted to an SQLite value.
pub(super) struct Scalar(Value);

impl<'de> Deserialize<'de> for Scalar {
    // The number is parsed from its JSON text here, because the number parser of serde_json rejects 9e999.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&RawValue>::deserialize(deserializer)?.get();
        let value = match text.as_bytes().first() {
            Some(b'"') => serde_json::from_str(text).map(Value::Text).map_err(D::Error::custom)?,
            Some(b'n') => Value::Null,
            Some(b't') => Value::Integer(1),
            Some(b'f') => Value::Integer(0),
            Some(b'[' | b'{') | None => return Err(D::Error::custom("a value should be no array or object")),
            Some(_) => match text.parse() {
                // No server writes an INTEGER as -0.
                Ok(integer) if text != "-0" => Value::Integer(integer),
                _ => Value::Real(text.parse().map_err(D::Error::custom)?),
            },
        };
        Ok(Scalar(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_item() {
        let body = br#"{"results":[{"success":true,"rowsUpdated":0},{"success":true,"rowsUpdatedBatch":[1,2]},
            {"success":false,"error":"No"},{"success":true,"resultSet":[]},
            {"success":true,"resultHeaders":["a","a","b"],"resultSet":[{"a":-9e999,"b":null}]},
            {"success":true,"resultHeaders":["a","a"],"resultSetList":[[1.5,"x\u00e9"],[true,9223372036854775808],[-0,0]]}]}"#;
        let infinite = Value::Real(f64::NEG_INFINITY);
        let want = [
            ItemResult::Updated(0),
            ItemResult::UpdatedEach(vec![1, 2]),
            ItemResult::Failed("No".into()),
            ItemResult::Rows { headers: vec![], rows: vec![] },
            ItemResult::Rows {
                headers: vec!["a".into(), "a".into(), "b".into()],
                rows: vec![vec![infinite.clone(), infinite, Value::Null]],
            },
            ItemResult::Rows {
                headers: vec!["a".into(), "a".into()],
                rows: vec![
                    vec![1.5.into(), "xé".into()],
                    vec![1_i64.into(), 9223372036854775808.0.into()],
                    vec![(-0.0).into(), 0_i64.into()],
                ],
            },
        ];
        assert_eq!(decode_reply(200, body).unwrap(), want);
    }

    #[test]
    fn refusals() {
        let error = decode_reply(500, br#"{"reqIdx":2,"error":"no"}"#).unwrap_err();
        assert_eq!(error, ReplyError::Refused(Refusal { status: 500, req_idx: 2, error: "no".into() }));
        let error = decode_reply(401, b"Unauthorized").unwrap_err();
        assert_eq!(error, ReplyError::Refused(Refusal::whole(401, "Unauthorized")));
        assert_eq!(refusal(503, b"Service Unavailable"), None);
        assert_eq!(refusal(503, br#"{"error":"x"}"#), None);
    }

    #[test]
    fn an_error_object_that_was_cut_off_has_the_beginning_of_its_message() {
        let (begin, end) = (r#"{"reqIdx":7,"error":""#, "abc");
        for character in ["\u{1f600}", r"\ud83d\ude00", r#"\""#, r"\\", r"\u00e9"] {
            let body = format!("{begin}{end}{character}");
            for length in begin.len() + end.len()..body.len() {
                let want = Some(Refusal { status: 500, req_idx: 7, error: end.to_owned() });
                assert_eq!(refusal(500, &body.as_bytes()[..length]), want, "{character}: {length}");
            }
        }
        for body in [r#"{"reqIdx":7"#, r#"{"reqIdx":7,"err"#, "", r#"{"a":"b"#] {
            assert_eq!(refusal(500, body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn malformed_replies() {
        for body in [
            r#"{"results":[{"success":true,"resultHeaders":["a"],"resultSetList":[[]]}]}"#,
            r#"{"results":[{"success":true,"resultHeaders":["a"],"resultSet":[{}]}]}"#,
            r#"{"results":[{"success":true,"resultHeaders":["a"],"resultSetList":[[[]]]}]}"#,
            r#"{"results":[{"success":true"#,
            "[]",
        ] {
            let error = decode_reply(200, body.as_bytes()).unwrap_err();
            assert!(matches!(error, ReplyError::Malformed(_)), "{body}");
        }
    }
}

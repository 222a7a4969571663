//! Decodes request bodies.
//!
//! A body is decoded in one pass, without an intermediate tree of JSON values. The parser of serde_json rejects some
//! JSON that ws4sqlite accepts: lone surrogates, and numbers out of the range of a double. If a body contains such
//! JSON, it is decoded again in a slower pass.

mod form;
mod request;
mod surrogates;
mod values;

use std::borrow::Cow;

pub use form::decode_form;
use request::RequestSeed;
use serde::de::DeserializeSeed;
use serde_json::error::Category;
use values::Numbers;

use crate::call::Call;
use crate::reply::Refusal;

/// Decodes a JSON body. Bytes that are not valid UTF-8 and lone surrogates become U+FFFD.
///
/// # Errors
/// Status 400 if the body is not JSON, or is not JSON of the form of a request.
pub fn decode(body: &[u8]) -> Result<Call, Refusal> {
    // `from_utf8` is tried first: it is faster than `from_utf8_lossy`, which examines the bytes one by one.
    let text = std::str::from_utf8(body).map_or_else(|_| String::from_utf8_lossy(body), Cow::Borrowed);
    let call = parse(&text, Numbers::Native).or_else(|error| parse_again(&text, error));
    call.map_err(|error| Refusal::unparsable(&describe(&error)))
}

fn parse(text: &str, numbers: Numbers) -> Result<Call, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let call = RequestSeed(numbers).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(call)
}

fn parse_again(text: &str, error: serde_json::Error) -> Result<Call, serde_json::Error> {
    let repaired = surrogates::replace_lone(text);
    let repaired_any = matches!(repaired, Cow::Owned(_));
    if repaired_any || values::is_out_of_range(&error) { parse(&repaired, Numbers::Checked) } else { Err(error) }
}

fn describe(error: &serde_json::Error) -> String {
    match error.classify() {
        Category::Eof => "unexpected end of JSON input".to_owned(),
        Category::Syntax | Category::Data | Category::Io => error.to_string(),
    }
}

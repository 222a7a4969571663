//! Parses and formats query strings, whose names and values are percent-encoded.

use sqlhttp_text::form;

use crate::reply::Refusal;

/// The decoded names and values of a query string, in order.
pub(super) struct Pairs(Vec<(Vec<u8>, Vec<u8>)>);

impl Pairs {
    /// Parses a query string.
    ///
    /// # Errors
    /// Status 400 for a `;` or an invalid escape. If there are both, the `;` is reported, even if it comes later.
    pub(super) fn parse(query: &str) -> Result<Pairs, Refusal> {
        if query.contains(';') {
            return Err(Refusal::text(400, "invalid semicolon separator in query"));
        }
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((unescape(name)?, unescape(value)?))
        });
        pairs.collect::<Result<_, _>>().map(Pairs)
    }

    /// Returns the value of the first parameter with this name. `None` if there is no such parameter.
    pub(super) fn get(&self, name: &str) -> Option<&[u8]> {
        let pair = self.0.iter().find(|(found, _)| found == name.as_bytes());
        pair.map(|(_, value)| value.as_slice())
    }

    /// Returns the value of the first parameter with this name as UTF-8; invalid bytes are replaced with U+FFFD. `None`
    /// if there is no such parameter.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// Returns whether there is a parameter with this name, whatever its value.
    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

fn unescape(text: &str) -> Result<Vec<u8>, Refusal> {
    match form::invalid_escape(text.as_bytes()) {
        None => Ok(form::decode(text.as_bytes()).into_owned()),
        Some(escape) => {
            let text = format!("invalid URL escape {:?}", String::from_utf8_lossy(escape));
            Err(Refusal::text(400, text))
        }
    }
}

/// Appends `name` or `name=value` to a query string.
pub(super) fn push(query: &mut String, name: &str, value: &[u8]) {
    if !query.is_empty() {
        query.push('&');
    }
    query.push_str(name);
    if value.is_empty() {
        return;
    }
    query.push('=');
    form::encode(value, query);
}

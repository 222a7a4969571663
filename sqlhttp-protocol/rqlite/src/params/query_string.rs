//! Parses and formats query strings, whose names and values are percent-encoded.

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
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        bytes.push(match first {
            b'+' => b' ',
            b'%' => {
                let (byte, after) = escaped_byte(after).ok_or_else(|| bad_escape(after))?;
                rest = after;
                byte
            }
            &byte => byte,
        });
    }
    Ok(bytes)
}

fn escaped_byte(text: &[u8]) -> Option<(u8, &[u8])> {
    let digit = |b: u8| char::from(b).to_digit(16);
    match text {
        &[high, low, ref rest @ ..] => u8::try_from(digit(high)? << 4 | digit(low)?).ok().map(|byte| (byte, rest)),
        _ => None,
    }
}

/// Returns the refusal of an invalid escape. Its text contains the percent sign and the two bytes after it.
fn bad_escape(after: &[u8]) -> Refusal {
    let shown = String::from_utf8_lossy(&after[..after.len().min(2)]);
    Refusal::text(400, format!("invalid URL escape {:?}", format!("%{shown}")))
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
    for &byte in value {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => query.push(char::from(byte)),
            b' ' => query.push('+'),
            _ => query.push_str(&format!("%{byte:02X}")),
        }
    }
}

//! Indents JSON in the same way as Go's `json.Indent`, with four spaces for each level. Empty arrays and objects stay
//! on one line.

/// Indents a complete JSON document. The document must be compact: it must not contain white space outside strings.
pub(crate) fn indent(compact: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(compact.len() * 2);
    Indenter::default().write(&mut out, compact);
    out
}

/// Indents a JSON document that arrives in pieces. The document must be compact: it must not contain white space
/// outside strings.
#[derive(Debug, Default)]
pub(crate) struct Indenter {
    depth: usize,
    in_string: bool,
    after_backslash: bool,
    /// Whether the last byte opened an array or object.
    just_opened: bool,
}

impl Indenter {
    /// Indents the next piece of the document and appends it to `out`.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>, compact: &[u8]) {
        for &byte in compact {
            if self.in_string {
                self.string_byte(byte);
                out.push(byte);
            } else {
                self.byte(out, byte);
            }
        }
    }

    fn string_byte(&mut self, byte: u8) {
        let ends = byte == b'"' && !self.after_backslash;
        self.in_string = !ends;
        self.after_backslash = byte == b'\\' && !self.after_backslash;
    }

    fn byte(&mut self, out: &mut Vec<u8>, byte: u8) {
        let closes = matches!(byte, b'}' | b']');
        let was_opened = std::mem::replace(&mut self.just_opened, false);
        if closes {
            self.depth = self.depth.saturating_sub(1);
        }
        // The first element of an array or object begins a line. So does the closing bracket, unless the array or
        // object is empty.
        if was_opened != closes {
            self.new_line(out);
        }
        out.push(byte);
        match byte {
            b'{' | b'[' => {
                self.depth += 1;
                self.just_opened = true;
            }
            b',' => self.new_line(out),
            b':' => out.push(b' '),
            b'"' => self.in_string = true,
            _ => {}
        }
    }

    fn new_line(&self, out: &mut Vec<u8>) {
        out.push(b'\n');
        out.resize(out.len() + 4 * self.depth, b' ');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPACT: &str = r#"{"a":[],"b":{},"c":[1,"x\"[{,:\\"],"d":[[{"e":null}]]}"#;

    #[test]
    fn indentation_is_that_of_go() {
        let want = r#"{
    "a": [],
    "b": {},
    "c": [
        1,
        "x\"[{,:\\"
    ],
    "d": [
        [
            {
                "e": null
            }
        ]
    ]
}"#;
        assert_eq!(String::from_utf8(indent(COMPACT.as_bytes())).unwrap(), want);
    }

    #[test]
    fn pieces_of_any_size() {
        for size in 1..COMPACT.len() {
            let mut indenter = Indenter::default();
            let mut out = Vec::new();
            COMPACT.as_bytes().chunks(size).for_each(|piece| indenter.write(&mut out, piece));
            assert_eq!(out, indent(COMPACT.as_bytes()));
        }
    }
}

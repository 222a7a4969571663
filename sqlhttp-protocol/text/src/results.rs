//! Splits a reply in JSON into its results and rows, while it arrives.

/// Finds the results and the rows in the JSON of a reply that arrives in chunks.
///
/// The replies of both protocols are objects with a list `results`, whose elements may contain a list of rows. The
/// splitter finds the ends of the rows and of the results. It holds one row, the other fields of one result, and the
/// other fields of the reply. It does not decode them, and it does not check the commas between rows and between
/// results. A second list of rows in the same result is one of the other fields.
///
/// ```
/// use sqlhttp_text::results::{Piece, ResultSplitter};
///
/// let mut splitter = ResultSplitter::new("values");
/// let mut pieces = Vec::new();
/// let mut take = |piece: Piece<'_>| -> Result<(), ()> {
///     pieces.push(match piece {
///         Piece::Begin(json) => format!("begin {}", String::from_utf8_lossy(json)),
///         Piece::Row(json) => format!("row {}", String::from_utf8_lossy(json)),
///         Piece::End(json) => format!("end {}", String::from_utf8_lossy(json)),
///     });
///     Ok(())
/// };
/// splitter.push(br#"{"results":[{"columns":["a"],"values":[[7],[8"#, &mut take)?;
/// splitter.push(br#"]],"time":1}]}"#, &mut take)?;
/// let (begin, end) = (r#"begin {"columns":["a"],"values":[]}"#, r#"end {"columns":["a"],"values":[],"time":1}"#);
/// assert_eq!(pieces, [begin, "row [7]", "row [8]", end]);
/// assert_eq!(splitter.finish(), br#"{"results":[]}"#);
/// # Ok::<(), ()>(())
/// ```
#[derive(Debug)]
pub struct ResultSplitter {
    /// The key of the list of rows.
    rows_key: &'static str,
    place: Place,
    string: StringState,
    /// The number of open objects and arrays.
    depth: usize,
    /// Whether the rows of the current result have begun. They begin once, so that the text before them is passed on
    /// once: otherwise a reply that repeats the key would take time in proportion to the square of its length.
    has_rows: bool,
    /// The JSON text of the reply without its results.
    reply: Vec<u8>,
    /// The JSON text of the current result without its rows.
    result: Vec<u8>,
    /// The JSON text of the current row.
    row: Vec<u8>,
}

/// A piece of a reply, as JSON text. It is not known to be valid JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// The rows of a result begin. The text is an object: the fields before the rows, and an empty list of rows.
    Begin(&'a [u8]),
    /// A row.
    Row(&'a [u8]),
    /// A result has ended. The text is an object: all fields of the result, and an empty list of rows if there were
    /// rows.
    End(&'a [u8]),
}

/// The position in the structure of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the fields of the reply.
    Reply,
    /// Between the elements of `results`.
    Results,
    /// In the fields of a result.
    Result,
    /// Between the rows.
    Rows,
    /// In a row.
    Row,
}

/// The position in a JSON string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StringState {
    Outside,
    Inside,
    /// After a backslash.
    Escape,
}

impl ResultSplitter {
    /// Creates a splitter of replies whose results have their rows in the field `rows_key`.
    pub fn new(rows_key: &'static str) -> ResultSplitter {
        ResultSplitter {
            rows_key,
            place: Place::Reply,
            string: StringState::Outside,
            depth: 0,
            has_rows: false,
            reply: Vec::new(),
            result: Vec::new(),
            row: Vec::new(),
        }
    }

    /// Adds a chunk of the reply, and passes the pieces that are complete to `take`.
    ///
    /// # Errors
    /// Those of `take`. No call may follow.
    pub fn push<E>(&mut self, chunk: &[u8], take: &mut impl FnMut(Piece<'_>) -> Result<(), E>) -> Result<(), E> {
        let mut rest = chunk;
        while let Some(byte) = rest.first() {
            let length = match self.string {
                StringState::Outside => self.push_outside(*byte, take)?,
                StringState::Inside => self.push_inside(rest),
                StringState::Escape => {
                    self.keep(&[*byte]);
                    self.string = StringState::Inside;
                    1
                }
            };
            rest = &rest[length..];
        }
        Ok(())
    }

    /// Returns the number of bytes that the splitter holds of a row, a result and the reply.
    pub fn held_bytes(&self) -> usize {
        self.reply.len() + self.result.len() + self.row.len()
    }

    /// Ends the reply, and returns its fields, with an empty list of results. The text is not valid JSON if the reply
    /// is not complete.
    pub fn finish(self) -> Vec<u8> {
        self.reply
    }

    /// Reads a byte outside strings. Returns 1.
    fn push_outside<E>(&mut self, byte: u8, take: &mut impl FnMut(Piece<'_>) -> Result<(), E>) -> Result<usize, E> {
        match byte {
            b'"' => self.string = StringState::Inside,
            b'{' | b'[' => return self.open(byte, take).map(|()| 1),
            b'}' | b']' => return self.close(byte, take).map(|()| 1),
            // The elements are removed, and so are the commas between them.
            b',' if matches!(self.place, Place::Results | Place::Rows) => return Ok(1),
            _ => {}
        }
        self.keep(&[byte]);
        Ok(1)
    }

    /// Reads up to the end of the string or to the next escape. Returns the number of bytes.
    fn push_inside(&mut self, rest: &[u8]) -> usize {
        let Some(end) = memchr::memchr2(b'"', b'\\', rest) else {
            self.keep(rest);
            return rest.len();
        };
        self.string = if rest[end] == b'"' { StringState::Outside } else { StringState::Escape };
        self.keep(&rest[..=end]);
        end + 1
    }

    fn open<E>(&mut self, byte: u8, take: &mut impl FnMut(Piece<'_>) -> Result<(), E>) -> Result<(), E> {
        self.depth += 1;
        match (self.place, self.depth) {
            (Place::Reply, 2) if byte == b'[' && ends_with_key(&self.reply, "results") => {
                self.keep(&[byte]);
                self.place = Place::Results;
            }
            (Place::Results, _) => {
                self.place = Place::Result;
                self.keep(&[byte]);
            }
            (Place::Result, 4) if byte == b'[' && !self.has_rows && ends_with_key(&self.result, self.rows_key) => {
                self.keep(&[byte]);
                self.has_rows = true;
                take(Piece::Begin(&[&self.result[..], b"]}"].concat()))?;
                self.place = Place::Rows;
            }
            (Place::Rows, _) => {
                self.place = Place::Row;
                self.keep(&[byte]);
            }
            _ => self.keep(&[byte]),
        }
        Ok(())
    }

    fn close<E>(&mut self, byte: u8, take: &mut impl FnMut(Piece<'_>) -> Result<(), E>) -> Result<(), E> {
        self.depth = self.depth.saturating_sub(1);
        match (self.place, self.depth) {
            (Place::Results, _) => self.place = Place::Reply,
            (Place::Rows, _) => self.place = Place::Result,
            _ => {}
        }
        self.keep(&[byte]);
        match (self.place, self.depth) {
            (Place::Row, 4) => {
                take(Piece::Row(&self.row))?;
                self.row.clear();
                self.place = Place::Rows;
            }
            (Place::Result, 2) => {
                take(Piece::End(&self.result))?;
                self.result.clear();
                self.has_rows = false;
                self.place = Place::Results;
            }
            _ => {}
        }
        Ok(())
    }

    /// Keeps text of the reply, the result or the row, until it is complete.
    fn keep(&mut self, text: &[u8]) {
        let kept = match self.place {
            Place::Reply | Place::Results => &mut self.reply,
            Place::Result | Place::Rows => &mut self.result,
            Place::Row => &mut self.row,
        };
        kept.extend_from_slice(text);
    }
}

/// Whether the text ends with this key and a colon.
fn ends_with_key(text: &[u8], key: &str) -> bool {
    let before = || {
        let text = text.trim_ascii_end().strip_suffix(b":")?.trim_ascii_end().strip_suffix(b"\"")?;
        text.strip_suffix(key.as_bytes())?.strip_suffix(b"\"")
    };
    before().is_some_and(|before| before.last() != Some(&b'\\'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_of_a_result_begin_once() {
        let repeated = r#","values":[]"#.repeat(100_000);
        let reply = format!(r#"{{"results":[{{"values":[[1]]{repeated}}},{{"values":[[2]]}}]}}"#);
        let mut splitter = ResultSplitter::new("values");
        let (mut begins, mut rows, mut ends, mut bytes) = (0, 0, 0, 0);
        let pushed = splitter.push(reply.as_bytes(), &mut |piece| -> Result<(), ()> {
            let (count, json) = match piece {
                Piece::Begin(json) => (&mut begins, json),
                Piece::Row(json) => (&mut rows, json),
                Piece::End(json) => (&mut ends, json),
            };
            *count += 1;
            bytes += json.len();
            Ok(())
        });
        assert_eq!((pushed, begins, rows, ends), (Ok(()), 2, 2, 2));
        assert!(bytes < 2 * reply.len(), "{bytes}");
    }
}

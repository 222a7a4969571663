//! The decoder of a reply that arrives in chunks, compared with the decoder of a whole reply.

#![allow(clippy::unwrap_used, clippy::panic)]

use proptest::prelude::*;
use sqlhttp_core::Value;
use sqlhttp_rqlite::client::{Part, ReplyError, ReplyReader, Response, StatementResult, decode_reply};

/// Decodes the chunks of a reply, and puts the rows back into the results.
fn decode_chunks<'c>(chunks: impl IntoIterator<Item = &'c [u8]>) -> Result<Response, ReplyError> {
    let mut reader = ReplyReader::default();
    let (mut results, mut rows) = (Vec::new(), Vec::<Vec<Value>>::new());
    let mut announced = None;
    for chunk in chunks {
        reader.push(chunk)?;
        while let Some(part) = reader.next() {
            match part {
                Part::Columns { names, .. } => assert_eq!(announced.replace(names), None),
                Part::Rows(more) => {
                    assert!(announced.is_some() && !more.is_empty());
                    rows.extend(more);
                }
                Part::End(mut result) => {
                    if let StatementResult::Rows(found) = &mut result {
                        assert_eq!((announced.as_ref(), found.rows.len()), (Some(&found.columns), 0));
                        found.rows = std::mem::take(&mut rows);
                    }
                    rows.clear();
                    announced = None;
                    results.push(result);
                }
            }
        }
    }
    reader.finish().map(|response| Response { results, ..response })
}

const REPLIES: [&str; 9] = [
    r#"{"results":[]}"#,
    r#"{"results":[{"last_insert_id":1,"rows_affected":2},{}],"time":0.5,"raft_index":7}"#,
    r#"{ "results" : [ { "columns" : ["a","b"], "types":["integer","text"], "values": [ [1, "x"] , [null, "]}\"\\"] ],"time":0.25 } ] }"#,
    r#"{"results":[{"columns":["a"],"types":["blob"],"values":[[[1,2,3]],[[]]]},{"error":"no such table: t"}]}"#,
    r#"{"results":[{"columns":["\"values\":["],"types":["text"],"values":[["{\"results\":[{\"values\":[["]]}]}"#,
    r#"{"results":[{"columns":["a"],"types":["integer"]}]}"#,
    r#"{"results":[{"types":{"a":"integer","b":"text"},"rows":[{"a":1,"b":"é"},{"b":"y","a":9e999}]}]}"#,
    r#"{"results":[{"columns":["a"],"types":["integer"],"values":[[1],[2]],"error":"interrupted"}]}"#,
    r#"{"results":[],"error":"leadership lost"}"#,
];

#[test]
fn a_reply_may_be_split_anywhere() {
    for reply in REPLIES {
        let whole = decode_reply(200, reply.as_bytes());
        assert_eq!(decode_chunks([reply.as_bytes()]), whole, "{reply}");
        assert_eq!(decode_chunks(reply.as_bytes().chunks(1)), whole, "{reply}");
        for at in 0..reply.len() {
            let (first, second) = reply.as_bytes().split_at(at);
            assert_eq!(decode_chunks([first, second]), whole, "{reply} at {at}");
        }
    }
}

#[test]
fn a_reply_that_ends_early_is_malformed() {
    for reply in REPLIES {
        for length in 0..reply.len() {
            let ended = decode_chunks([&reply.as_bytes()[..length]]);
            assert!(matches!(ended, Err(ReplyError::Malformed(_))), "{}: {ended:?}", &reply[..length]);
        }
    }
}

#[test]
fn malformed_rows_and_results_are_errors() {
    for reply in [
        r#"{"results":[{"columns":["a"],"types":["integer"],"values":[[1,2]]}]}"#,
        r#"{"results":[{"columns":["a"],"types":["integer"],"values":[7]}]}"#,
        r#"{"results":[{"columns":["a"],"types":["integer"],"values":[{"a":1}]}]}"#,
        r#"{"results":[{"values":[[1]]}]}"#,
        r#"{"results":[7]}"#,
        r#"{"results":[{"columns":["a"]}]}"#,
        r#"{"results":[{"columns":["a"],"types":["integer"],"values":[[1]]}]]"#,
        "nonsense",
    ] {
        let ended = decode_chunks([reply.as_bytes()]);
        assert!(matches!(ended, Err(ReplyError::Malformed(_))), "{reply}: {ended:?}");
    }
}

#[test]
fn the_rows_that_have_been_read_need_no_memory() {
    let mut reader = ReplyReader::<Value>::default();
    reader.push(br#"{"results":[{"columns":["a"],"types":["text"],"values":["#).unwrap();
    for _ in 0..1000 {
        reader.push(br#"["0123456789"],"#).unwrap();
        while reader.next().is_some() {}
    }
    assert!(reader.held_bytes() < 100, "{}", reader.held_bytes());
}

proptest! {
    /// A reply with a wrong byte is refused, or decoded as the decoder of whole replies does.
    #[test]
    fn garbage_is_malformed(
        reply in proptest::sample::select(&REPLIES[..]),
        at in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<proptest::sample::Index>(),
    ) {
        let mut bytes = reply.as_bytes().to_vec();
        let at = at.index(bytes.len());
        // The decoder does not check the commas between rows and results.
        prop_assume!(![byte, bytes[at]].contains(&b','));
        bytes[at] = byte;
        let (first, second) = bytes.split_at(cut.index(bytes.len()));
        let (whole, chunks) = (decode_reply(200, &bytes), decode_chunks([first, second]));
        // The whole reply may be valid where the parts are not, if a key appears twice, or later than usual.
        prop_assert!(chunks.is_err() || chunks == whole, "{chunks:?} is not {whole:?}");
    }
}

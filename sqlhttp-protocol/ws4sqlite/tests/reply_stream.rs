//! The decoder of a reply that arrives in chunks, compared with the decoder of a whole reply.

#![allow(clippy::unwrap_used, clippy::panic)]

use proptest::prelude::*;
use sqlhttp_core::Value;
use sqlhttp_ws4sqlite::client::{ItemResult, Part, ReplyError, ReplyReader, decode_reply};

/// Decodes the chunks of a reply, and puts the rows back into the results.
fn decode_chunks<'c>(chunks: impl IntoIterator<Item = &'c [u8]>) -> Result<Vec<ItemResult>, ReplyError> {
    let mut reader = ReplyReader::default();
    let (mut results, mut rows) = (Vec::new(), Vec::<Vec<Value>>::new());
    let mut announced = None;
    for chunk in chunks {
        reader.push(chunk)?;
        while let Some(part) = reader.next() {
            match part {
                Part::Columns(names) => assert_eq!(announced.replace(names), None),
                Part::Rows(more) => {
                    assert!(announced.is_some() && !more.is_empty());
                    rows.extend(more);
                }
                Part::End(mut result) => {
                    if let ItemResult::Rows { headers, rows: found } = &mut result {
                        assert_eq!((announced.as_ref(), found.len()), (Some(&*headers), 0));
                        *found = std::mem::take(&mut rows);
                    }
                    rows.clear();
                    announced = None;
                    results.push(result);
                }
            }
        }
    }
    reader.finish().map(|()| results)
}

const REPLIES: [&str; 9] = [
    r#"{"results":[]}"#,
    r#"{"results":[{"success":true,"rowsUpdated":2},{"success":true,"rowsUpdatedBatch":[1,2]},{"success":true}]}"#,
    r#"{ "results" : [ { "success" : true, "resultHeaders" : ["a","b"], "resultSetList": [ [1, "x"] , [null, "]}\"\\"] ] } ] }"#,
    r#"{"results":[{"success":false,"error":"No such table: t (1)"},{"success":true,"resultSetList":[]}]}"#,
    r#"{"results":[{"success":true,"resultHeaders":["\"resultSetList\":["],"resultSetList":[["{\"results\":[["]]}]}"#,
    r#"{"results":[{"resultHeaders":["a"],"resultSetList":[[1],[2]],"success":true}]}"#,
    r#"{"results":[{"success":true,"resultHeaders":["a","b"],"resultSet":[{"a":1,"b":"é"},{"b":"y","a":9e999}]}]}"#,
    r#"{"results":[{"resultHeaders":["a"],"resultSetList":[[1],[2]],"success":false,"error":"Interrupted (9)"}]}"#,
    r#"{"results":[{"success":true,"resultHeaders":["a"],"resultSetList":[[-0],[1.5e300],[true]]}]}"#,
];

#[test]
fn a_reply_may_be_split_anywhere() {
    for reply in REPLIES {
        let whole = decode_reply(200, reply.as_bytes());
        assert!(whole.is_ok(), "{reply}");
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
        r#"{"results":[{"success":true,"resultHeaders":["a"],"resultSetList":[[1,2]]}]}"#,
        r#"{"results":[{"success":true,"resultHeaders":["a"],"resultSetList":[7]}]}"#,
        r#"{"results":[{"success":true,"resultHeaders":["a"],"resultSetList":[{"a":1}]}]}"#,
        r#"{"results":[{"success":true,"resultSetList":[[1]]}]}"#,
        r#"{"results":[{"resultHeaders":["a"],"resultSetList":[[1]]}]}"#,
        r#"{"results":[7]}"#,
        r#"{"results":[{"success":true,"resultHeaders":["a"],"resultSetList":[[1]]}]]"#,
        "nonsense",
    ] {
        let ended = decode_chunks([reply.as_bytes()]);
        assert!(matches!(ended, Err(ReplyError::Malformed(_))), "{reply}: {ended:?}");
    }
}

#[test]
fn the_rows_that_have_been_read_need_no_memory() {
    let mut reader = ReplyReader::default();
    reader.push(br#"{"results":[{"success":true,"resultHeaders":["a"],"resultSetList":["#).unwrap();
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

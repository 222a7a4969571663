//! Tests of the encoding of Raft log entries.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use sqlhttp_core::{Batch, Bindings, Conditions, Failure, Stamp, Step, Value};

use super::wire::WireOperation;
use super::{Command, DATABASE, EncodedOperation, HEAD_BYTES, Operation, VERSION};

const CONDITIONS: Conditions =
    Conditions { unix_ms: 1_700_000_000_123, foreign_keys: true, value_bytes_max: 64 << 20, time_zone: None };

fn command() -> Command {
    let steps = vec![
        Step::execute("INSERT INTO t VALUES (?)", ["ä"]),
        Step::query("SELECT :a", [("a", 1.5)]).or_continue(),
        Step::fail(Failure::MissingPositional(3)),
    ];
    let stamp = Some(Stamp { unix_ms: 1_700_000_000_123, seed: 9 });
    let batch = Arc::new(Batch { stamp, ..Batch::transaction(steps) });
    let operations = [
        Operation::Batch { batch, exclusive: true, steps_max: 7 },
        Operation::Barrier,
        Operation::Replace(Arc::from(*b"SQLite")),
        Operation::LoadBegin { bytes: 1 << 40 },
        Operation::LoadChunk { load: 300, offset: 1 << 20, bytes: Arc::from(*b"SQLite") },
        Operation::LoadChunk { load: 300, offset: 2 << 20, bytes: vec![7; 1 << 20].into() },
        Operation::LoadCommit { load: 300, checksum: 0xffff_ffff },
        Operation::LoadAbort { load: 300 },
    ];
    Command::new(
        DATABASE,
        CONDITIONS,
        operations.into_iter().map(|operation| EncodedOperation::new(operation).unwrap()).collect(),
    )
    .unwrap()
}

#[test]
fn a_command_survives_encoding() {
    let command = command();
    let read = Command::from_bytes(command.bytes().to_vec()).unwrap();
    assert_eq!(read.operations(), command.operations());
    assert_eq!(read.bytes(), command.bytes());
    assert_eq!(read.conditions(), Some(CONDITIONS));
}

/// Logs that older versions have written must stay readable.
#[test]
fn the_format_does_not_change() {
    let batch = Arc::new(Batch {
        stamp: Some(Stamp { unix_ms: 1, seed: 2 }),
        ..Batch::one(Step::execute("x", Bindings::positional([1_i64])))
    });
    let operation = Operation::Batch { batch, exclusive: false, steps_max: 0 };
    let encoded = || EncodedOperation::new(operation.clone()).unwrap();
    let command = Command::new(DATABASE, CONDITIONS, vec![encoded()]).unwrap();
    let conditions = [4, b'm', b'a', b'i', b'n', 246, 161, 171, 254, 249, 98, 1, 128, 128, 128, 32];
    let operations = [1, 4, 1, 0, 1, b'x', 1, 0, 1, 2, 0, 1, 0, 0, 1, 2, 2, 0, 0, 0];
    assert_eq!(command.bytes()[0], 2);
    assert_eq!(command.bytes()[HEAD_BYTES..], [&conditions[..], &operations].concat());
    let rome = Conditions { time_zone: Some("Europe/Rome".parse().unwrap()), ..CONDITIONS };
    let command = Command::new(DATABASE, rome, vec![encoded()]).unwrap();
    assert_eq!(command.bytes()[0], 3);
    let zone = [&[11][..], b"Europe/Rome"].concat();
    assert_eq!(command.bytes()[HEAD_BYTES..], [&conditions[..], &zone, &operations].concat());
    assert_eq!(Command::from_bytes(command.bytes().to_vec()).unwrap().conditions(), Some(rome));
}

#[test]
fn the_format_of_loads_does_not_change() {
    let of = |operation| EncodedOperation::new(operation).unwrap().bytes;
    assert_eq!(of(Operation::LoadBegin { bytes: 128 }), [5, 128, 1]);
    assert_eq!(of(Operation::LoadChunk { load: 3, offset: 1, bytes: Arc::from(*b"ab") }), [6, 3, 1, 2, b'a', b'b']);
    assert_eq!(of(Operation::LoadCommit { load: 3, checksum: 128 }), [7, 3, 128, 1]);
    assert_eq!(of(Operation::LoadAbort { load: 3 }), [8, 3]);
    assert_eq!(of(Operation::Replace(Arc::from(*b"ab"))), [2, 2, b'a', b'b']);
}

#[test]
fn an_unknown_time_zone_is_refused() {
    let rome = Conditions { time_zone: Some("Europe/Rome".parse().unwrap()), ..CONDITIONS };
    let command = Command::new(DATABASE, rome, vec![EncodedOperation::new(Operation::Barrier).unwrap()]).unwrap();
    let mut bytes = command.bytes().to_vec();
    let at = bytes.windows(4).position(|window| window == b"Rome").unwrap();
    bytes[at..at + 4].copy_from_slice(b"Oslx");
    let checksum = crc32fast::hash(&bytes[HEAD_BYTES..]).to_le_bytes();
    bytes[1..HEAD_BYTES].copy_from_slice(&checksum);
    let error = Command::from_bytes(bytes).unwrap_err();
    assert!(error.to_string().contains("unknown time zone Europe/Oslx"), "{error}");
}

#[test]
fn version_1_is_read() {
    let body = [4, b'm', b'a', b'i', b'n', 1, 0, 1, 0, 1, b'x', 1, 0, 1, 2, 0, 1, 0, 0, 1, 2, 2, 0, 0];
    let bytes = [&[1][..], &crc32fast::hash(&body).to_le_bytes(), &body].concat();
    let command = Command::from_bytes(bytes).unwrap();
    assert_eq!(command.conditions(), None);
    let step = Step::execute("x", Bindings::positional([1_i64]));
    let batch = Arc::new(Batch { stamp: Some(Stamp { unix_ms: 1, seed: 2 }), ..Batch::one(step) });
    assert_eq!(command.operations(), [Operation::Batch { batch, exclusive: false, steps_max: 0 }]);
}

#[test]
fn a_newer_version_is_refused() {
    let mut bytes = command().bytes().to_vec();
    bytes[0] = VERSION + 1;
    let error = Command::from_bytes(bytes).unwrap_err();
    assert!(error.to_string().contains("version 4"), "{error}");
}

#[test]
fn repetitive_operations_are_compressed() {
    let steps = (0..100_i64)
        .map(|id| Step::execute("INSERT INTO t(id, name) VALUES (?, ?)", [id.into(), Value::from("name")]))
        .collect();
    let stamp = Some(Stamp { unix_ms: 1, seed: 2 });
    let operation = Operation::Batch {
        batch: Arc::new(Batch { stamp, ..Batch::transaction(steps) }),
        exclusive: false,
        steps_max: 0,
    };
    let plain = postcard::to_stdvec(&WireOperation::from(&operation)).unwrap().len();
    let encoded = EncodedOperation::new(operation.clone()).unwrap();
    assert!(encoded.bytes.len() < plain / 3, "{} of {plain}", encoded.bytes.len());
    let command =
        Command::new(DATABASE, CONDITIONS, vec![encoded, EncodedOperation::new(Operation::Barrier).unwrap()]).unwrap();
    let read = Command::from_bytes(command.bytes().to_vec()).unwrap();
    assert_eq!(read.operations(), [operation, Operation::Barrier]);
}

#[test]
fn random_bytes_are_not_compressed() {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    let bytes: Arc<[u8]> = (0..10_000).map(|_| next()).collect();
    let encoded = EncodedOperation::new(Operation::Replace(bytes)).unwrap();
    assert_eq!(encoded.bytes, postcard::to_stdvec(&WireOperation::from(&encoded.operation)).unwrap());
}

/// The bytes of a command from another node are untrusted: decoding malformed ones must return an error.
#[test]
fn malformed_compressed_operations_are_refused() {
    let compressed = |plain: &[u8]| {
        let packed = lz4_flex::block::compress_prepend_size(plain);
        postcard::to_stdvec(&WireOperation::Compressed(&packed)).unwrap()
    };
    let huge = postcard::to_stdvec(&WireOperation::Compressed(&[255, 255, 255, 127, 0])).unwrap();
    let twice = compressed(&compressed(&[1]));
    for bytes in [huge, twice, compressed(b"nonsense"), postcard::to_stdvec(&WireOperation::Compressed(&[1])).unwrap()]
    {
        let operation = EncodedOperation { operation: Operation::Barrier, bytes, len_plain: 1 };
        let command = Command::new(DATABASE, CONDITIONS, vec![operation]).unwrap();
        assert!(Command::from_bytes(command.bytes().to_vec()).is_err());
    }
}

#[test]
fn every_flipped_bit_is_detected() {
    let bytes = command().bytes().to_vec();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(Command::from_bytes(flipped).is_err(), "bit {bit}");
    }
    for length in 0..bytes.len() {
        assert!(Command::from_bytes(bytes[..length].to_vec()).is_err(), "{length} bytes");
    }
}

#[test]
fn another_database_is_refused() {
    let command = Command::new("other", CONDITIONS, vec![EncodedOperation::new(Operation::Barrier).unwrap()]).unwrap();
    let error = Command::from_bytes(command.bytes().to_vec()).unwrap_err();
    assert!(error.to_string().contains("'other'"), "{error}");
}

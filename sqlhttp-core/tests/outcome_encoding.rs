//! Outcomes as they are sent between nodes: every outcome survives the encoding, and no bytes make the decoder panic,
//! loop without end or reserve much memory.
#![allow(clippy::unwrap_used, reason = "clippy does not see that this is a test")]

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use sqlhttp_core::{
    Block, Changed, Column, Ending, Failure, Outcome, Rows, SqlError, StepInfo, StepOutcome, TransactionKeyword,
    ValueRef,
};

#[derive(Debug, Clone)]
enum Cell {
    Null,
    Integer(i64),
    Real(f64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

impl Cell {
    fn borrow(&self) -> ValueRef<'_> {
        match self {
            Cell::Null => ValueRef::Null,
            Cell::Integer(i) => ValueRef::Integer(*i),
            Cell::Real(r) => ValueRef::Real(*r),
            Cell::Text(bytes) => ValueRef::Text(bytes),
            Cell::Blob(bytes) => ValueRef::Blob(bytes),
        }
    }
}

fn cell() -> impl Strategy<Value = Cell> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..20);
    let real = prop_oneof![prop::num::f64::ANY, Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(-0.0)];
    prop_oneof![
        Just(Cell::Null),
        any::<i64>().prop_map(Cell::Integer),
        real.prop_filter("SQLite has no NaN", |real| !real.is_nan()).prop_map(Cell::Real),
        bytes().prop_map(Cell::Text),
        bytes().prop_map(Cell::Blob),
    ]
}

fn block(columns: usize) -> impl Strategy<Value = Block> {
    let row = prop::collection::vec(cell(), columns);
    prop::collection::vec(row, 0..5).prop_map(move |rows| {
        let mut block = Block::new(columns);
        rows.iter().for_each(|row| block.push_row(row.iter().map(Cell::borrow)));
        block
    })
}

fn column() -> impl Strategy<Value = Column> {
    let text = || "\\PC{0,6}";
    let optional = || prop::option::of(text());
    (text(), optional(), optional()).prop_map(|(name, decl_type, table)| Column { name, decl_type, table })
}

fn changed() -> impl Strategy<Value = Changed> {
    any::<(u64, Option<i64>)>().prop_map(|(rows, last_insert_id)| Changed { rows, last_insert_id })
}

fn rows() -> impl Strategy<Value = Rows> {
    let columns = prop::collection::vec(column(), 0..4);
    let with_blocks = columns.prop_flat_map(|columns| {
        let blocks = prop::collection::vec(block(columns.len()), 0..3);
        (Just(columns), blocks)
    });
    (with_blocks, changed()).prop_map(|((columns, blocks), changed)| Rows {
        columns: Arc::from(columns),
        blocks,
        changed,
    })
}

fn failure() -> impl Strategy<Value = Failure> {
    let sql = any::<(i32, String, String, Option<u32>)>();
    let keyword = prop::sample::select(vec![
        TransactionKeyword::Begin,
        TransactionKeyword::Commit,
        TransactionKeyword::Rollback,
        TransactionKeyword::Savepoint,
        TransactionKeyword::Release,
    ]);
    prop_oneof![
        sql.prop_map(|(code, generic, message, offset)| Failure::Sql(SqlError { code, generic, message, offset })),
        keyword.prop_map(Failure::TransactionControl),
        any::<String>().prop_map(Failure::NotAllowed),
        any::<String>().prop_map(Failure::MissingNamed),
        any::<usize>().prop_map(Failure::MissingPositional),
        any::<(usize, usize)>().prop_map(|(want, got)| Failure::NotEnough { want, got }),
        any::<u64>().prop_map(|limit| Failure::TooManyRows { limit }),
        any::<u64>().prop_map(|limit| Failure::TooManyBytes { limit }),
        Just(Failure::Timeout),
        any::<(u16, String)>().prop_map(|(status, message)| Failure::Protocol { status, message }),
    ]
}

fn step() -> impl Strategy<Value = (StepOutcome, StepInfo)> {
    let outcome = prop_oneof![
        rows().prop_map(StepOutcome::Rows),
        changed().prop_map(StepOutcome::Changed),
        prop::collection::vec(changed(), 0..4).prop_map(StepOutcome::ChangedEach),
        failure().prop_map(StepOutcome::Failed),
    ];
    let info = any::<(bool, bool, Duration)>();
    (outcome, info).prop_map(|(outcome, (reads, returning, elapsed))| (outcome, StepInfo { reads, returning, elapsed }))
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let ending = prop_oneof![
        Just(Ending::Done),
        any::<usize>().prop_map(Ending::Aborted),
        failure().prop_map(Ending::NotCommitted),
    ];
    (prop::collection::vec(step(), 0..4), ending, any::<u64>()).prop_map(|(steps, ending, log_index)| {
        let (steps, info) = steps.into_iter().unzip();
        Outcome { steps, info, ending, log_index }
    })
}

/// A change of an encoded outcome.
#[derive(Debug, Clone)]
enum Mutation {
    Set(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Insert(prop::sample::Index, u8),
    Truncate(prop::sample::Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    use prop::sample::Index;
    prop_oneof![
        4 => any::<(Index, u8)>().prop_map(|(at, byte)| Mutation::Set(at, byte)),
        1 => any::<Index>().prop_map(Mutation::Remove),
        1 => any::<(Index, u8)>().prop_map(|(at, byte)| Mutation::Insert(at, byte)),
        1 => any::<Index>().prop_map(Mutation::Truncate),
    ]
}

fn mutate(bytes: &mut Vec<u8>, mutation: &Mutation) {
    let len = bytes.len();
    match mutation {
        Mutation::Insert(at, byte) => bytes.insert(at.index(len + 1), *byte),
        Mutation::Truncate(at) => bytes.truncate(at.index(len + 1)),
        Mutation::Set(at, byte) if len > 0 => bytes[at.index(len)] = *byte,
        Mutation::Remove(at) if len > 0 => drop(bytes.remove(at.index(len))),
        Mutation::Set(..) | Mutation::Remove(_) => {}
    }
}

/// Reads every value of an outcome, both through rows and through blocks. Returns the number of values.
fn read(outcome: &Outcome) -> usize {
    let mut values = 0;
    for step in &outcome.steps {
        let StepOutcome::Rows(rows) = step else { continue };
        let by_row: usize = rows.iter().map(|row| row.values().count()).sum();
        let by_block: usize = rows.blocks.iter().map(|block| block.values().count()).sum();
        assert_eq!(by_row, rows.len() * rows.columns.len());
        assert_eq!(by_row, by_block);
        values += by_row;
    }
    values
}

proptest! {
    #[test]
    fn any_outcome_survives_the_encoding(outcome in outcome()) {
        let bytes = postcard::to_stdvec(&outcome).unwrap();
        prop_assert_eq!(postcard::from_bytes::<Outcome>(&bytes).unwrap(), outcome);
    }

    #[test]
    fn changed_bytes_are_an_error_or_a_sound_outcome(
        outcome in outcome(),
        mutations in prop::collection::vec(mutation(), 1..6),
    ) {
        let mut bytes = postcard::to_stdvec(&outcome).unwrap();
        mutations.iter().for_each(|mutation| mutate(&mut bytes, mutation));
        if let Ok(outcome) = postcard::from_bytes::<Outcome>(&bytes) {
            // Each value takes at least its tag.
            prop_assert!(read(&outcome) <= bytes.len());
            prop_assert_eq!(postcard::from_bytes::<Outcome>(&postcard::to_stdvec(&outcome).unwrap()).unwrap(), outcome);
        }
    }

    #[test]
    fn any_bytes_are_an_error_or_a_sound_outcome(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(outcome) = postcard::from_bytes::<Outcome>(&bytes) {
            prop_assert!(read(&outcome) <= bytes.len());
        }
    }
}

/// Encodes a block as its fields: the tape, the number of rows and the number of columns.
fn decode(tape: &[u8], rows: usize, columns: usize) -> Result<Block, postcard::Error> {
    // A byte of a slice that is serialized as a sequence and a string of bytes have the same encoding.
    postcard::from_bytes(&postcard::to_stdvec(&(tape, rows, columns)).unwrap())
}

#[test]
fn a_malformed_block_is_an_error() {
    let nan: Vec<u8> = [vec![2], f64::NAN.to_le_bytes().to_vec()].concat();
    let malformed: [(&str, &[u8], usize, usize); 15] = [
        ("an endless number of empty rows", &[], usize::MAX, 0),
        ("a row without columns", &[], 1, 0),
        ("a product that overflows to 0", &[], 1 << (usize::BITS / 2), 1 << (usize::BITS / 2)),
        ("a product that overflows to 2", &[0, 0], (1 << (usize::BITS - 1)) + 1, 2),
        ("more rows than values", &[0, 0], 3, 1),
        ("more columns than values", &[0, 0], 1, 3),
        ("a value that is left over", &[0, 0, 0], 1, 2),
        ("values of no row", &[0], 0, 1),
        ("an unknown tag", &[5], 1, 1),
        ("an integer that is cut off", &[1, 0, 0, 0, 0, 0, 0, 0], 1, 1),
        ("a real number that is cut off", &[2, 0, 0, 0, 0, 0, 0, 0], 1, 1),
        ("NaN", &nan, 1, 1),
        ("a length that is cut off", &[3, 0, 0, 0], 1, 1),
        ("a text that is cut off", &[3, 2, 0, 0, 0, b'a'], 1, 1),
        ("a blob of four gigabytes", &[4, 0xff, 0xff, 0xff, 0xff, 0], 1, 1),
    ];
    for (name, tape, rows, columns) in malformed {
        assert!(decode(tape, rows, columns).is_err(), "{name}");
    }
    let sound = decode(&[3, 1, 0, 0, 0, 0xff, 0], 1, 2).unwrap();
    assert_eq!(sound.values().collect::<Vec<_>>(), [ValueRef::Text(&[0xff]), ValueRef::Null]);
}

#[test]
fn a_block_with_other_columns_than_its_result_is_an_error() {
    let mut block = Block::new(2);
    block.push_row([ValueRef::Null, ValueRef::Null]);
    let rows = Rows { columns: Arc::from([Column::default()]), blocks: vec![block], changed: Changed::default() };
    assert!(postcard::from_bytes::<Rows>(&postcard::to_stdvec(&rows).unwrap()).is_err());
}

#[test]
fn a_tape_is_one_string_of_bytes() {
    let mut block = Block::new(1);
    block.push_row([ValueRef::Blob(&[0xff; 1000])]);
    // One tag, four bytes of length; two bytes for the length of the tape, one each for the rows and the columns.
    assert_eq!(postcard::to_stdvec(&block).unwrap().len(), 1000 + 5 + 2 + 1 + 1);
}

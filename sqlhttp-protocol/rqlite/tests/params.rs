//! Query strings. The expected results come from recorded conversations with rqlite.

#![allow(clippy::unwrap_used)] // Helper functions of tests may panic, as tests do.

use std::time::Duration;

use proptest::prelude::*;
use sqlhttp_core::ReadLevel;
use sqlhttp_rqlite::{BackupFormat, Endpoint, Params, Refusal};

fn parse(query: &str) -> Params {
    Params::parse(query).unwrap()
}

#[test]
fn refusals() {
    for (query, text) in [
        ("q=", "query parameter not set"),
        ("q", "query parameter not set"),
        ("timeout=invalid", "timeout is not a valid duration"),
        ("timeout=5", "timeout is not a valid duration"),
        ("timeout", "timeout is not a valid duration"),
        ("timeout=+1s", "timeout is not a valid duration"),
        ("freshness=x", "freshness is not a valid duration"),
        ("db_timeout=1d", "db_timeout is not a valid duration"),
        ("linearizable_timeout=x", "linearizable_timeout is not a valid duration"),
        ("retries=invalid", "retries is not a valid integer"),
        ("retries=1.5", "retries is not a valid integer"),
        ("trailing_logs=a", "trailing_logs is not a valid integer"),
        ("trailing_logs=9223372036854775808", "trailing_logs is not a valid integer"),
        ("freshness_strict", "freshness_strict requires freshness"),
        ("q=%ZZ", "invalid URL escape \"%ZZ\""),
        ("a%2=1", "invalid URL escape \"%2\""),
        ("a;b", "invalid semicolon separator in query"),
        // The first error in the order of the checks, whatever the order of the parameters.
        ("q=&retries=x&timeout=x&freshness_strict", "freshness_strict requires freshness"),
        ("q=&retries=x&db_timeout=x&timeout=x", "timeout is not a valid duration"),
        ("q=&trailing_logs=x&retries=x", "retries is not a valid integer"),
    ] {
        assert_eq!(Params::parse(query), Err(Refusal::text(400, text)), "{query}");
    }
}

#[test]
fn flags_are_set_by_their_presence() {
    let params = parse("pretty=false&timings=0&transaction=no&queue&wait=&redirect&associative&blob_array");
    assert!(params.pretty && params.timings && params.transaction && params.queue && params.wait);
    assert!(params.redirect && params.associative && params.blob_array);
    let params = parse("qualify_columns&raft_index&noleader&vacuum&compress&nonvoters&sync");
    assert!(params.qualify_columns && params.raft_index && params.noleader && params.vacuum);
    assert!(params.compress && params.nonvoters && params.sync && !params.pretty);
    assert_eq!(parse("Pretty&unknown=1&noparse&norwrandom&norwtime&bypass"), Params::default());
}

#[test]
fn values() {
    assert_eq!(parse("q=SELECT+%2B1&q=x").q.unwrap(), b"SELECT +1");
    assert_eq!(parse("q=%ff").q.unwrap(), b"\xff");
    assert_eq!(parse("level=STRONG").level, ReadLevel::Strong);
    assert_eq!(parse("level=None").level, ReadLevel::None);
    assert_eq!(parse("level=linearizable").level, ReadLevel::Linearizable);
    assert_eq!(parse("level=auto").level, ReadLevel::Auto);
    assert_eq!(parse("level=nonsense").level, ReadLevel::Weak);
    assert_eq!(parse("fmt=SQL").backup_format, BackupFormat::Sql);
    assert_eq!(parse("fmt=delete").backup_format, BackupFormat::Delete);
    assert_eq!(parse("fmt=nonsense").backup_format, BackupFormat::Binary);
    assert_eq!(parse("tables=a,,%20b+,").tables, ["a", "b"]);
    assert!(parse("ver=2").nodes_as_list && !parse("ver=3").nodes_as_list);
    assert_eq!(parse("key=store.leader").key, "store.leader");
    assert_eq!(parse("retries=-1").retries, 0);
    assert_eq!(parse("retries=3&retries=x").retries, 3);
    assert_eq!(parse("trailing_logs=7").trailing_logs, 7);
}

#[test]
fn durations() {
    assert_eq!(parse("").timeout, Duration::from_secs(30));
    assert_eq!(parse("timeout=%2B1m30s").timeout, Duration::from_secs(90));
    assert_eq!(parse("db_timeout=0").db_timeout, None);
    assert_eq!(parse("db_timeout=-1s").db_timeout, None);
    assert_eq!(parse("db_timeout=50ms").db_timeout, Some(Duration::from_millis(50)));
    assert_eq!(parse("freshness=0&freshness_strict").freshness, None);
    let strict = parse("freshness=1s&freshness_strict=false");
    assert_eq!((strict.freshness, strict.freshness_strict), (Some(Duration::from_secs(1)), true));
    for (query, endpoint, seconds) in [
        ("", Endpoint::Query, 10),
        ("linearizable_timeout=0", Endpoint::Query, 1),
        ("linearizable_timeout=7s", Endpoint::Query, 7),
        ("linearizable_timeout=7s", Endpoint::Request, 1),
    ] {
        assert_eq!(parse(query).linearizable_wait(endpoint), Duration::from_secs(seconds), "{query}");
    }
}

fn duration() -> impl Strategy<Value = Duration> {
    (1..=i64::MAX as u64).prop_map(Duration::from_nanos)
}

proptest! {
    #[test]
    fn formatted_parameters_parse_as_themselves(
        flags in any::<[bool; 18]>(),
        durations in (duration(), prop::option::of(duration()), prop::option::of(duration()), prop::option::of(duration())),
        texts in (prop::option::of(prop::collection::vec(any::<u8>(), 1..20)), "\\PC{0,8}", prop::collection::vec("[^, ]{1,4}", 0..3)),
        numbers in any::<(u32, u32)>(), level in 0..5_usize, format in 0..3_usize,
    ) {
        let [pretty, timings, transaction, queue, wait, redirect, strict, associative, rest @ ..] = flags;
        let [blob_array, qualify_columns, raft_index, noleader, vacuum, compress, nonvoters, sync, deep, repair] = rest;
        let (timeout, freshness, linearizable_timeout, db_timeout) = durations;
        let (q, key, tables) = texts;
        let levels = [ReadLevel::None, ReadLevel::Weak, ReadLevel::Linearizable, ReadLevel::Strong, ReadLevel::Auto];
        let formats = [BackupFormat::Binary, BackupFormat::Sql, BackupFormat::Delete];
        let params = Params::default()
            .q(q)
            .pretty(pretty)
            .timings(timings)
            .transaction(transaction)
            .queue(queue)
            .wait(wait)
            .timeout(timeout)
            .timeout_given(true)
            .redirect(redirect)
            .freshness(freshness)
            .linearizable_timeout(linearizable_timeout)
            .db_timeout(db_timeout)
            .retries(numbers.0.into())
            .level(levels[level])
            .freshness_strict(strict && freshness.is_some())
            .associative(associative)
            .blob_array(blob_array)
            .qualify_columns(qualify_columns)
            .raft_index(raft_index)
            .noleader(noleader)
            .backup_format(formats[format])
            .vacuum(vacuum)
            .compress(compress)
            .tables(tables.iter().map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()).collect())
            .nonvoters(nonvoters)
            .nodes_as_list(sync)
            .sync(sync)
            .deep(deep)
            .repair(repair)
            .key(key)
            .trailing_logs(numbers.1.into());
        prop_assert_eq!(Params::parse(&params.to_query()), Ok(params));
    }

    #[test]
    fn no_query_string_makes_the_parser_panic(query in "[a-z&=%;+0-9]{0,40}|\\PC{0,40}") {
        let _ = Params::parse(&query);
    }
}

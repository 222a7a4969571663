//! A large result takes constant memory. The test is alone in its process, so that only its memory is measured.
#![allow(clippy::expect_used, clippy::panic)]

mod common;

use common::*;
use sqlhttp_core::{Answer, Backend, Batch, Block, Deadline, Ending, Options, Part, ReadLevel, Step, StepOutcome};

/// The value of a field of `/proc/self/status`, in bytes.
fn memory_use(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib << 10)
}

#[test]
fn ten_million_rows_take_constant_memory() {
    const ROWS: u64 = 10_000_000;
    let test_dir = TestDir::new();
    for db in [memory(), test_dir.open(Options::default())] {
        let before = memory_use("VmRSS");
        let sql = format!(
            "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {ROWS}) SELECT n, 'row ' || n FROM c"
        );
        let answer = block_on(db.read_batch(Batch::one(Step::query(sql, ())), ReadLevel::None, Deadline::NEVER));
        let Ok(Answer::Parts(mut stream)) = answer else { panic!("the result is not streamed: {answer:?}") };
        let (mut count, mut sum, mut most) = (0_u64, 0_i64, 0);
        let mut take = |block: &Block| {
            count += block.len() as u64;
            sum += block.rows().filter_map(|row| row.get(0)?.as_integer()).sum::<i64>();
        };
        let mut blocks = 0;
        loop {
            match block_on(stream.next()).expect("a part").expect("no error") {
                Part::Columns(columns) => assert_eq!(columns.len(), 2),
                Part::Rows(block) => take(&block),
                Part::Step(StepOutcome::Rows(rows), _) => rows.blocks.iter().for_each(&mut take),
                Part::Step(other, _) => panic!("{other:?}"),
                Part::End(ending) => {
                    assert_eq!(ending, Ending::Done);
                    break;
                }
            }
            blocks += 1;
            if blocks % 64 == 0 {
                most = most.max(memory_use("VmRSS").unwrap_or(0));
            }
        }
        assert_eq!(count, ROWS);
        assert_eq!(sum, (ROWS * (ROWS + 1) / 2) as i64);
        if let Some(before) = before {
            assert!(most < before + (64 << 20), "{before} bytes before, {most} at most");
        }
    }
}
